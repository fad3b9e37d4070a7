"""The code version, written into every bundle and every predictions row."""

__version__ = "0.1.0"
