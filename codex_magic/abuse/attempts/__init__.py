"""The attempts: each a function that returns what it reached, and raises where it was kept out."""
