"""The exercises of lecture 5: the best discriminator, and a step that does not circle."""

from __future__ import annotations

import numpy as np

from mrctlib.course.exercises.core import Exercise


def best_discriminator(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """How likely a sample is real, where real ones have density p and made ones q, and both are as many.

    It makes p log D + q log(1 - D) as large as can be. Goodfellow et al. 2014, proposition 1.
    """
    return p / (p + q)


Exercise(
    "game.best_discriminator",
    reference=best_discriminator,
    inputs=lambda: (np.random.rand(8) + 0.05, np.random.rand(8) + 0.05),
    wrong=[
        (lambda p, q: q / (p + q), "This is how likely a sample is *made*: D says how likely it is real."),
        (lambda p, q: p / q, "This is the ratio of the two, which may be above 1: solve p / D = q / (1 - D) for D."),
        (lambda p, q: p, "A density is no probability of being real: what if q is larger still at that place?"),
        (lambda p, q: (p > q).astype(float), "This is sure everywhere. Where p is a little larger than q, the best answer is a little above one half."),
        (lambda p, q: np.log(p / q), "This is the *score*, before the sigmoid: put it through 1 / (1 + exp(-s))."),
        (lambda p, q: p - q, "The derivative is p / D - q / (1 - D): put it to zero and solve for D."),
        (lambda p, q: 0.5 * np.ones_like(p), "One half is right only where p = q."),
        (lambda p, q: p / (p - q), "Mind the sign: p / D = q / (1 - D) gives p (1 - D) = q D."),
        (lambda p, q: p / (1 + q), "Both densities count: p / (p + q)."),
    ],
)  # fmt: skip


def extra_gradient(x: float, y: float, rate: float) -> tuple[float, float]:
    """The next (x, y) of the game min over x, max over y of x y: look one simultaneous step ahead, then step from here
    with the slopes that are found there. Korpelevich 1976."""
    ahead_x, ahead_y = x - rate * y, y + rate * x
    return x - rate * ahead_y, y + rate * ahead_x


def _simultaneous(x: float, y: float, rate: float) -> tuple[float, float]:
    return x - rate * y, y + rate * x


def _alternating(x: float, y: float, rate: float) -> tuple[float, float]:
    x = x - rate * y
    return x, y + rate * x


Exercise(
    "game.extra_gradient",
    reference=extra_gradient,
    inputs=lambda: (*np.random.randn(2), 0.3),
    wrong=[
        (_simultaneous, "This is the simultaneous step: use its result only to look at the slopes there."),
        (_alternating, "Here y already knows the new x: that is taking turns. Look ahead with both first."),
        (lambda x, y, rate: _simultaneous(*_simultaneous(x, y, rate), rate), "These are two steps, the second from ahead: take the slopes found *there*, but step from *here*."),
        (lambda x, y, rate: (x + rate * (y + rate * x), y - rate * (x - rate * y)), "The signs are turned: x goes *down* its slope y, y goes *up* its slope x."),
        (lambda x, y, rate: (x - rate * (y + rate * x), y + rate * x), "Both look ahead: y, too, takes the slope that is found there, the x ahead."),
        (lambda x, y, rate: (x - rate * (x - rate * y), y + rate * (y + rate * x)), "Each took its own place for its slope: that of x y in x is y, and in y it is x."),
        (lambda x, y, rate: (x - rate * (y + rate * x), y - rate * (x - rate * y)), "x y is what y wants *large*: y goes up its slope, with a plus."),
        (lambda x, y, rate: (extra_gradient(x, y, rate)[0], y + rate * extra_gradient(x, y, rate)[0]), "Here x was overwritten before y took its step: both steps use the places found *ahead*."),
        (lambda x, y, rate: extra_gradient(x, y, rate)[::-1], "The two have changed places: x first."),
        (lambda x, y, rate: (x - rate * (y + rate * (x - rate * y)), y + rate * (x - rate * y)), "The look ahead was taken in turns: y, too, looks ahead from where x *is*."),
        (lambda x, y, rate: tuple(np.add(_simultaneous(x, y, rate), (x, y)) / 2), "This goes half a step: no average, but the slopes of the place ahead."),
    ],
)  # fmt: skip
