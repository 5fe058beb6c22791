"""What people see in images, counted: how often they are right, how sure that is, and how far two of them agree."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

from mrctlib.runtime import InputError

Z = NormalDist().inv_cdf(0.975)  # 1.96: 95% of a normal distribution lie within so many widths of its mean


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """95% interval for the share right behind `right` answers out of `total`. Wilson 1927.

    All shares p that lie within 1.96 of *their own* standard errors, sqrt(p (1 - p) / total), of what was counted. So
    it stays within 0 and 1, and has a width even where all answers are right.

    Raises:
        InputError: no answers, or more right ones than answers.
    """
    if not 0 <= right <= total or total == 0:
        raise InputError(f"{right} right of {total}: give at least one answer, and 0 to all of them right")
    share = right / total
    middle = share + Z**2 / (2 * total)
    half = Z * (share * (1 - share) / total + Z**2 / (4 * total**2)) ** 0.5
    stretch = 1 + Z**2 / total
    return (middle - half) / stretch, (middle + half) / stretch


def cohens_kappa(a: Sequence, b: Sequence) -> float:
    """Agreement of two readers beyond chance, from what each said of the same images, (N,) and (N,). Cohen 1960.

    (p - e) / (1 - e): p is the share of images they agree on, e the share that two readers would agree on who say each
    word as often as these two, but without looking. 1: always; 0: as by chance; below: less. nan if both say one and
    the same word throughout.

    Raises:
        InputError: no images, or another number for each reader.
    """
    a, b = list(a), list(b)
    if len(a) != len(b) or not a:
        raise InputError(f"{len(a)} and {len(b)} answers: give one answer of each reader for each image")
    agreed = sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
    by_chance = sum(a.count(word) * b.count(word) for word in set(a)) / len(a) ** 2
    return (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")
