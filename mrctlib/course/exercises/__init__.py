"""Exercises that are checked in the cell where they are written: one module for each notebook, the mechanism in `core`."""

from mrctlib.course.exercises.core import exercise, question, reveal

__all__ = ["exercise", "question", "reveal"]
