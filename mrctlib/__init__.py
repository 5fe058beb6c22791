"""The library behind a course on deep learning for medical images."""

__version__ = "0.1.0"
