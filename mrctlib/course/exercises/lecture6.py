"""The exercises of lecture 6: where checkerboards come from, and how sure twenty answers are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mrctlib.course.exercises.core import Exercise


def stamps(pixels: int, kernel: int, stride: int) -> Tensor:
    """How many stamps each output of a transposed convolution gets along a line, ((pixels - 1) * stride + kernel,).

    Every one of the `pixels` inputs lays its kernel, `kernel` wide, on the outputs, `stride` after the one before.
    """
    counts = torch.zeros((pixels - 1) * stride + kernel)
    for pixel in range(pixels):
        counts[pixel * stride : pixel * stride + kernel] += 1
    return counts


def _convolved(pixels: int, kernel: int, stride: int) -> Tensor:
    """Upsampling and then a convolution, which is even."""
    line = torch.ones(1, 1, pixels).repeat_interleave(stride, 2)
    return F.conv1d(line, torch.ones(1, 1, kernel), padding=kernel - 1)[0, 0]


def _laid_on(counts: Tensor, pixels: int, kernel: int, stride: int) -> Tensor:
    for pixel in range(pixels):
        counts[pixel * stride : pixel * stride + kernel] = 1
    return counts


Exercise(
    "families.stamps",
    reference=stamps,
    inputs=lambda: (int(torch.randint(4, 9, ())), 5, int(torch.randint(2, 4, ()))),
    wrong=[
        (lambda n, k, s: stamps(n, k, s) / stamps(n, k, s).max(), "Count them: whole numbers."),
        (lambda n, k, s: _laid_on(torch.zeros((n - 1) * s + k), n, k, s), "Where two stamps overlap, both count: add 1, do not set it to 1."),
        (lambda n, k, s: stamps(n, k, 1), "The stamps lie one pixel apart here: each is `stride` after the one before."),
        (lambda n, k, s: stamps(n, k, s)[: n * s], "The end is cut off: the last stamp reaches `kernel` pixels from its place."),
        (lambda n, k, s: stamps(n, s, k), "Kernel and stride have changed places."),
        (lambda n, k, s: stamps(n, k, s)[k - 1 : 1 - k], "The borders count, too: there are (pixels - 1) * stride + kernel outputs."),
        (_convolved, "This is upsampling and then a convolution, the cure. Count the stamps of the transposed convolution."),
    ],
)  # fmt: skip


def wilson(right: int, asked: int, z: float = 1.96) -> tuple[float, float]:
    """(low, high) ends of the interval for a share of which `right` of `asked` were seen. Wilson 1927.

    All shares p whose own spread reaches to what was seen: |right / asked - p| <= z sqrt(p (1 - p) / asked). z = 1.96
    gives 95%. The middle is (share + z²/2n) / (1 + z²/n), and the half width
    z sqrt(share (1 - share) / n + z²/4n²) / (1 + z²/n).
    """
    share, spread = right / asked, z**2 / asked
    middle, half = share + spread / 2, z * math.sqrt(share * (1 - share) / asked + spread / (4 * asked))
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def _wald(right: int, asked: int, z: float) -> tuple[float, float]:
    share = right / asked
    half = z * math.sqrt(share * (1 - share) / asked)
    return share - half, share + half


def _undivided(right: int, asked: int, z: float) -> tuple[float, float]:
    low, high = wilson(right, asked, z)
    return low * (1 + z**2 / asked), high * (1 + z**2 / asked)


def _roots(a: float, b: float, c: float) -> tuple[float, float]:
    """Of the quadratic a p² + b p + c, the smaller one first."""
    middle, half = -b / (2 * a), math.sqrt(max(0.0, b * b - 4 * a * c)) / (2 * a)
    return middle - half, middle + half


def _about_the_share(right: int, asked: int, z: float) -> tuple[float, float]:
    low, high = wilson(right, asked, z)
    half = (high - low) / 2
    return right / asked - half, right / asked + half


Exercise(
    "families.wilson",
    reference=wilson,
    inputs=lambda: (int(torch.randint(0, 21, ())), 20, 1.96),
    wrong=[
        (_wald, "This is the interval of Wald, share ± z sqrt(share (1 - share) / n): for 20 of 20 it has no width at all."),
        (lambda r, n, z: wilson(r, n, z)[::-1], "The low end first, then the high one."),
        (_undivided, "Both ends are divided by 1 + z² / n."),
        (_about_the_share, "The middle is not the share itself: it lies a little nearer to one half, (share + z² / 2n) / (1 + z² / n)."),
        (lambda r, n, z: wilson(n - r, n, z), "This is the interval of the *wrong* answers."),
        (lambda r, n, z: _roots(1, -(2 * r / n + z**2 / n), (r / n) ** 2), "The p² on the right hand side was forgotten: its factor is 1 + z² / n, not 1."),
        (lambda r, n, z: wilson(r, n, math.sqrt(z)), "Squared, the right hand side has z², not z."),
        (lambda r, n, z: wilson(r, n, 1.96**2), "z enters as it is in the half width; only in z² / n is it squared."),
        (lambda r, n, z: (wilson(r, n, z)[1] - wilson(r, n, z)[0]) / 2, "Two ends are asked for: middle minus half, and middle plus half."),
        (lambda r, n, z: tuple(100 * end for end in wilson(r, n, z)), "A share from 0 to 1, no percents."),
    ],
)  # fmt: skip
