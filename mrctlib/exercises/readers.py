"""Exercises and questions on reading images: how far two readers agree, and what a small test has shown."""

from __future__ import annotations

import numpy as np

from mrctlib.exercises import Exercise, Question
from mrctlib.readers import cohens_kappa


def _two_readers() -> tuple[np.ndarray, np.ndarray]:
    """Of 40 images: the first says 1 (real) often, the second less often, and they look at the same things."""
    a = np.random.rand(40) < 0.75
    b = np.where(np.random.rand(40) < 0.6, a, np.random.rand(40) < 0.2)
    return a.astype(int), b.astype(int)


def _agreement(a: np.ndarray, b: np.ndarray) -> float:
    return float((a == b).mean())


def _by_chance(a: np.ndarray, b: np.ndarray) -> float:
    return float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))


def _pooled(a: np.ndarray, b: np.ndarray) -> float:
    """Scott's pi: one habit for both readers."""
    both = np.concatenate([a, b])
    chance = _by_chance(both, both)
    return (_agreement(a, b) - chance) / (1 - chance)


def _one_word(a: np.ndarray, b: np.ndarray) -> float:
    chance = float(a.mean() * b.mean())
    return (_agreement(a, b) - chance) / (1 - chance)


Exercise(
    "readers.cohens_kappa",
    reference=cohens_kappa,
    inputs=_two_readers,
    wrong=[
        (_agreement, "This is the share of images they agree on. What would two readers agree on who do not look?"),
        (_by_chance, "This is the agreement by chance alone. Subtract it from the share they agree on, and divide by what is left to reach."),
        (lambda a, b: _agreement(a, b) - _by_chance(a, b), "Divide by `1 - p_e`, all that can be reached beyond chance, so that full agreement gives 1."),
        (lambda a, b: (_agreement(a, b) - _by_chance(a, b)) / _by_chance(a, b), "Divide by `1 - p_e`, not by `p_e`."),
        (lambda a, b: 2 * _agreement(a, b) - 1, "This takes chance for one half. It is one half only where a reader says both words equally often: count."),
        (_one_word, "By chance they can agree on *both* words: both say 1, or both say 0. Add the two."),
        (_pooled, "This gives both readers one common habit (that is Scott's pi). Cohen lets each reader have their own."),
        (lambda a, b: float(np.corrcoef(a, b)[0, 1]), "This is the correlation: it forgives a reader who says 1 more often than the other. Kappa does not."),
    ],
)  # fmt: skip

Question(
    "readers.fooled",
    text="A reader is right on 7 of 12 pictures, half of which were generated: the 95% interval reaches from 32% to 81%. What "
    "has been shown?",
    choices=[
        "the generated pictures cannot be told from real ones",
        "the reader sees a difference: 58% is more than half",
        "little: a reader who guesses and one who is right 8 times in 10 both fit",
        "the generated pictures are fit for training other networks",
    ],
    answer="c",
    explanation="That a difference was not found is no proof that there is none. The number of pictures decides what can be found.",
    wrong={
        "a": "Which true shares lie in the interval? Would you call 80% 'cannot be told'?",
        "b": "Where does one half lie: in the interval or outside?",
        "d": "Nobody trained anything. To look real and to carry the right anatomy are two questions.",
    },
)  # fmt: skip
