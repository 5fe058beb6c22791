"""The exercises of lecture 4: shares that add up, a temperature, and sets of answers that keep a promise."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mrctlib.course.exercises.core import Exercise, Question


def integrated_gradients(slope: Callable[[Tensor], Tensor], image: Tensor, baseline: float, steps: int) -> Tensor:
    """Each pixel's share of the way from an empty image to this one, the shape of the image. Sundararajan et al. 2017.

    The slope is averaged at the middles of `steps` equal parts of the straight line, and multiplied by the way.

    Args:
        slope: an image to the gradient of the score with respect to it.
        baseline: the value of every pixel of the empty image.
    """
    way = image - baseline
    points = [(step + 0.5) / steps for step in range(steps)]
    return way * sum(slope(baseline + point * way) for point in points) / steps


def _cube(image: Tensor) -> Tensor:
    """The slope of a score with a bend: the sum of the cubes."""
    return 3 * image**2


def _at(points: Callable[[int], list[float]]) -> Callable:
    """The average at other points of the line."""

    def method(slope: Callable, image: Tensor, baseline: float, steps: int) -> Tensor:
        way, places = image - baseline, points(steps)
        return way * sum(slope(baseline + point * way) for point in places) / len(places)

    return method


Exercise(
    "maps.integrated_gradients",
    reference=integrated_gradients,
    inputs=lambda: (_cube, torch.randn(1, 1, 4, 5), -0.8, 6),
    wrong=[
        (lambda s, x, b, n: s(x), "This is the gradient at the image alone: walk there from the empty image, and average."),
        (lambda s, x, b, n: (x - b) * s(x), "This is the gradient at the end of the way, times the way: average over the whole line."),
        (lambda s, x, b, n: integrated_gradients(s, x, b, n) / (x - b), "The way is missing: multiply the mean slope by (image - baseline)."),
        (lambda s, x, b, n: integrated_gradients(s, x, b, n) * n, "Average, do not add up: else the shares grow with the steps."),
        (lambda s, x, b, n: integrated_gradients(s, x, b, n) * x / (x - b), "Multiply by the way, `image - baseline`, not by the image."),
        (lambda s, x, b, n: integrated_gradients(s, x, 0.0, n), "The empty image is not 0 here: begin at `baseline`."),
        (lambda s, x, b, n: integrated_gradients(s, x, b, n).abs(), "Leave the sign: shares of both signs add up to the score."),
        (lambda s, x, b, n: integrated_gradients(s, x, b, n).sum(), "One share for each pixel: the sum is what they are checked against."),
        (_at(lambda n: [step / n for step in range(n)]), "These are the beginnings of the parts: take the middles, (step + ½) / steps."),
        (_at(lambda n: [(step + 1) / n for step in range(n)]), "These are the ends of the parts: take the middles, (step + ½) / steps."),
        (_at(lambda n: [step / (n - 1) for step in range(n)]), "Here the two ends of the line count as much as an inner point: take the middles of equal parts, (step + ½) / steps."),
        (lambda s, x, b, n: (x - b) * sum(s((step + 0.5) / n * (x - b)) for step in range(n)) / n, "The baseline is missing from the points of the line: `baseline + share * (image - baseline)`."),
        (lambda s, x, b, n: (x - b) * sum(s((step + 0.5) / n * x) for step in range(n)) / n, "The line begins at the empty image, not at 0: `baseline + share * (image - baseline)`."),
    ],
)  # fmt: skip

Question(
    "maps.temperature",
    text="A network says 90%, 6% and 4% for three diagnoses. With a temperature of 2 (the scores are halved before the softmax), "
    "what does it say for the first, in percent? (Softmax undoes a logarithm: as scores you may take the logarithms of these shares.)",
    answer=68.1,
    tolerance=0.6,
    unit="percent",
    explanation="Halved scores are square roots before they are made to add up to 1: .949, .245 and .2 give 68, 18 and 14%. "
    "The order stays, so the diagnosis stays; what a threshold of 80% decides does not.",
    wrong={
        0.683: "In percent, please.",
        45: "Half of the *probability* is not what halved scores give: and the three must add up to 100%.",
        90: "It does change: only the order of the three stays.",
        94.9: "That is the square root of .9. The other two grow as well, and together they must give 100%.",
        99.3: "That is what *doubled* scores give: a temperature above 1 makes an answer more modest.",
    },
)  # fmt: skip


def conformal_threshold(chances: Tensor, classes: Tensor, miss: float) -> float:
    """The largest oddity, from 0 to 1, of an answer that is still named. Split conformal prediction, Vovk et al. 2005.

    The oddity of an answer is 1 minus its share. If new cases are of the same kind as the held-out ones, sets of all
    answers up to the threshold miss the truth in at most a share `miss` of them.

    Args:
        chances: (N, C) of held-out cases; classes: (N,), their truth.
    """
    oddities = (1 - chances.gather(1, classes[:, None])[:, 0]).sort().values
    rank = math.ceil((len(oddities) + 1) * (1 - miss))
    return float(oddities[rank - 1]) if rank <= len(oddities) else 1.0


def _held_out() -> tuple[Tensor, Tensor, float]:
    count = 30 if torch.rand(()) < 0.5 else 7  # with seven, no oddity is large enough
    return (2 * torch.randn(count, 3)).softmax(1), torch.randint(3, (count,)), 0.1


def _by_rank(rank: Callable[[int, float], int], oddity: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    def method(chances: Tensor, classes: Tensor, miss: float) -> float:
        oddities = oddity(chances, classes).sort().values
        at = rank(len(oddities), miss)
        return float(oddities[max(at, 1) - 1]) if at <= len(oddities) else 1.0

    return method


def _truth(chances: Tensor, classes: Tensor) -> Tensor:
    return chances.gather(1, classes[:, None])[:, 0]


Exercise(
    "maps.conformal_threshold",
    reference=conformal_threshold,
    inputs=_held_out,
    wrong=[
        (_by_rank(lambda n, miss: math.ceil(n * (1 - miss)), lambda c, y: 1 - _truth(c, y)), "The new case is one more of its kind: (n + 1) (1 - miss), not n (1 - miss)."),
        (_by_rank(lambda n, miss: math.ceil((n + 1) * (1 - miss)), _truth), "This orders the shares themselves: an oddity is 1 minus the share of the true class."),
        (_by_rank(lambda n, miss: math.ceil((n + 1) * (1 - miss)), lambda c, y: 1 - c.amax(1)), "This takes the class that was answered: the oddity is that of the *true* class."),
        (_by_rank(lambda n, miss: math.ceil((n + 1) * miss), lambda c, y: 1 - _truth(c, y)), "This is the other end: only a share `miss` of the oddities should be larger, not smaller."),
        (lambda c, y, miss: conformal_threshold(c, y, miss) if len(c) >= 9 else float("inf"), "Where k is larger than n, return 1: nothing is odder than that."),
        (lambda c, y, miss: 1 - conformal_threshold(c, y, miss), "This is the share that is still named; asked for is the oddity, 1 minus it."),
    ],
)  # fmt: skip
