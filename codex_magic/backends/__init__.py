"""Where turns run: backends that report the same events whatever they speak to."""
