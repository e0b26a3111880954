"""The notebook as a file and a place: where it is, which turns it keeps, which threads are its."""
