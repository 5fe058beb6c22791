"""The exercises of lecture 4: shares that add up, and a model that can be read."""

from __future__ import annotations

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
    answer=68.3,
    tolerance=1.0,
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
