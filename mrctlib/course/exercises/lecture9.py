"""The exercises of lecture 9: the way to noise in one leap, the loss, one step back, and which patch belongs to which."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mrctlib.course.exercises.core import Exercise, Question


def signal_and_noise(betas: Tensor) -> tuple[Tensor, Tensor]:
    """How much of the image, and of one fresh noise, is in the mixture after each step, (T,) each. Ho et al. 2020, (4).

    betas: (T,), the variance of the noise that each step adds, while the rest shrinks by sqrt(1 - beta).
    """
    kept = (1 - betas).cumprod(0)
    return kept.sqrt(), (1 - kept).sqrt()


Exercise(
    "diffusion.signal_and_noise",
    reference=signal_and_noise,
    inputs=lambda: (0.02 + 0.3 * torch.rand(6),),
    wrong=[
        (lambda b: ((1 - b).sqrt(), b.sqrt()), "This is one step alone: the image shrinks in *every* step, so multiply up to it (`cumprod`)."),
        (lambda b: ((1 - b).cumprod(0), 1 - (1 - b).cumprod(0)), "These are variances: take the roots."),
        (lambda b: ((1 - b).cumprod(0).sqrt(), 1 - (1 - b).cumprod(0).sqrt()), "The *variances* add up to 1, not the factors: the noise has sqrt(1 - product)."),
        (lambda b: ((1 - b).cumprod(0).sqrt(), b.cumsum(0).sqrt()), "Old noise shrinks as well, so the variances do not add up: what is missing to 1 is noise."),
        (lambda b: (b.cumprod(0).sqrt(), (1 - b.cumprod(0)).sqrt()), "A step *keeps* 1 - beta of the variance: multiply those."),
        (lambda b: ((1 - b.cumsum(0)).clamp(min=0).sqrt(), b.cumsum(0).clamp(max=1).sqrt()), "Each step takes a share of what is *left*: a product of 1 - beta, not 1 minus a sum."),
        (lambda b: tuple(reversed(signal_and_noise(b))), "The two are exchanged: the image's share first."),
        (lambda b: tuple(part[-1] for part in signal_and_noise(b)), "One value for each step: this is the last alone."),
    ],
)  # fmt: skip


def denoising_loss(predict: Callable, image: Tensor, noise: Tensor, angle: Tensor) -> Tensor:
    """Mean squared error of the predicted turn v, a scalar tensor. Salimans and Ho 2022.

    Args:
        predict: (mixtures, angles) to v; image, noise: (N, 1, H, W); angle: (N, 1, 1, 1), 0 for the image alone.
    """
    mixture = angle.cos() * image + angle.sin() * noise
    turn = angle.cos() * noise - angle.sin() * image
    return (predict(mixture, angle) - turn).square().mean()


def _half(x: Tensor, angle: Tensor) -> Tensor:
    """Something that depends on both."""
    return 0.5 * x + angle


def _mixture(image: Tensor, noise: Tensor, angle: Tensor) -> Tensor:
    return angle.cos() * image + angle.sin() * noise


def _turn(image: Tensor, noise: Tensor, angle: Tensor) -> Tensor:
    return angle.cos() * noise - angle.sin() * image


Exercise(
    "diffusion.denoising_loss",
    reference=denoising_loss,
    inputs=lambda: (_half, torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), 0.2 + torch.rand(3, 1, 1, 1)),
    wrong=[
        (lambda f, x, e, a: (f(_mixture(x, e, a), a) - e).square().mean(), "This asks for the noise: here the network predicts the turn, cos · noise - sin · image."),
        (lambda f, x, e, a: (f(_mixture(x, e, a), a) - x).square().mean(), "This asks for the image: here the network predicts the turn, cos · noise - sin · image."),
        (lambda f, x, e, a: (f(x, a) - _turn(x, e, a)).square().mean(), "The network is shown the clean image: show it the mixture."),
        (lambda f, x, e, a: (f(x + e, a) - _turn(x, e, a)).square().mean(), "This is a plain sum: the mixture is cos · image + sin · noise, so that its spread stays the same."),
        (lambda f, x, e, a: (f(a.sin() * x + a.cos() * e, a) - _turn(x, e, a)).square().mean(), "Sine and cosine are exchanged in the mixture: at angle 0 it is the image."),
        (lambda f, x, e, a: (f(_mixture(x, e, a), a) + _turn(x, e, a)).square().mean(), "The sign of the turn: cos · noise *minus* sin · image, and its difference from the prediction."),
        (lambda f, x, e, a: (f(_mixture(x, e, a), a) - _turn(x, e, a)).abs().mean(), "Squares, not sizes: the squared error makes the network predict a *mean*."),
        (lambda f, x, e, a: (f(_mixture(x, e, a), a) - _turn(x, e, a)).square().sum(), "The mean, not the sum."),
        (lambda f, x, e, a: (f(_mixture(x, e, a), a) - _turn(x, e, a)).square(), "A scalar: take the mean over all pixels and images."),
    ],
)  # fmt: skip


def turn_back(mixture: Tensor, turn: Tensor, now: float, after: float) -> tuple[Tensor, Tensor]:
    """(next mixture, the image as it is thought to be) from a mixture at angle `now`. Song et al. 2021: DDIM, no new noise.

    turn: the predicted v, the shape of the mixture; now, after: angles in radians, after the smaller.
    """
    image = math.cos(now) * mixture - math.sin(now) * turn
    noise = math.sin(now) * mixture + math.cos(now) * turn
    return math.cos(after) * image + math.sin(after) * noise, image


def _back(image: Callable, noise: Callable) -> Callable:
    """The same from another image and another noise, of (mixture, turn, cos, sin)."""

    def method(mixture: Tensor, turn: Tensor, now: float, after: float) -> tuple[Tensor, Tensor]:
        given = mixture, turn, math.cos(now), math.sin(now)
        x, rest = image(*given), noise(*given)
        return math.cos(after) * x + math.sin(after) * rest, x

    return method


Exercise(
    "diffusion.turn_back",
    reference=turn_back,
    inputs=lambda: (torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3), 1.1 + 0.3 * float(torch.rand(())), 0.4),
    wrong=[
        (_back(lambda m, v, c, s: c * m + s * v, lambda m, v, c, s: s * m + c * v), "The sign: image = cos · mixture - sin · turn."),
        (_back(lambda m, v, c, s: s * m - c * v, lambda m, v, c, s: c * m + s * v), "Sine and cosine are exchanged: image = cos · mixture - sin · turn."),
        (_back(lambda m, v, c, s: c * m - s * v, lambda m, v, c, s: m), "The mixture is no noise yet: noise = sin · mixture + cos · turn."),
        (_back(lambda m, v, c, s: c * m - s * v, lambda m, v, c, s: v), "The turn is no noise yet: noise = sin · mixture + cos · turn."),
        (_back(lambda m, v, c, s: m - v, lambda m, v, c, s: v), "That would be right if the network predicted a difference: image and noise are both turned, by cosine and sine."),
        (lambda m, v, now, after: (turn_back(m, v, now, after)[1],) * 2, "You leap to the image at once: mix it again with the noise, at the angle `after`."),
        (lambda m, v, now, after: turn_back(m, v, now, after)[::-1], "The next mixture first, then the image."),
        (lambda m, v, now, after: (turn_back(m, v, now, now)[0], turn_back(m, v, now, now)[1]), "This turns back by nothing: mix at the angle `after`."),
    ],
)  # fmt: skip


def patch_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """Does each patch find its own among all others? A scalar tensor. Park et al. 2020 (CUT), equation 3.

    query: (P, D), features at P places of the fake; key: (P, D), at the same places of the input.
    """
    query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
    return F.cross_entropy(query @ key.T / temperature, torch.arange(len(query), device=query.device))


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=1)


Exercise(
    "diffusion.patch_nce",
    reference=patch_nce,
    inputs=lambda: (torch.randn(6, 4), torch.randn(6, 4), 0.3),
    wrong=[
        (lambda q, k, t: F.cross_entropy(q @ k.T / t, torch.arange(len(q))), "Bring all features to length 1 first (`F.normalize`): else the longest wins."),
        (lambda q, k, t: F.cross_entropy(_unit(q) @ _unit(k).T, torch.arange(len(q))), "Divide by the temperature: else similarities between -1 and 1 hardly differ to a softmax."),
        (lambda q, k, t: F.cross_entropy(_unit(q) @ _unit(k).T * t, torch.arange(len(q))), "Divide by the temperature, do not multiply."),
        (lambda q, k, t: F.cross_entropy(_unit(k) @ _unit(q).T / t, torch.arange(len(q))), "Rows are the queries: each place of the fake looks among all places of the input."),
        (lambda q, k, t: -(_unit(q) * _unit(k)).sum(1).mean() / t, "This only pulls together what belongs together: without the other places a constant would do."),
        (lambda q, k, t: F.cross_entropy((_unit(q) @ _unit(k).T / t).softmax(1), torch.arange(len(q))), "`F.cross_entropy` takes the softmax itself."),
        (lambda q, k, t: F.cross_entropy(F.normalize(q, dim=0) @ F.normalize(k, dim=0).T / t, torch.arange(len(q))), "Each *place* gets length 1: normalise along the features, dim=1."),
        (lambda q, k, t: F.cross_entropy(_unit(q) @ _unit(k).T / t, torch.arange(len(q)), reduction="sum"), "The mean over the places, not the sum."),
    ],
)  # fmt: skip

Question(
    "diffusion.mean",
    text="An MR leaves it open whether a sinus is open (air, -1000 HU) or closed (tissue, 0 HU): both are as likely. A network that was trained with the squared error to give the CT says what, in HU?",
    answer=-500,
    tolerance=5,
    unit="HU",
    explanation="The mean of all that is possible has the smallest squared error, though no patient has it. A sample says -1000 or 0: it looks right, "
    "and is 1000 HU off half of the time. Its mean squared error is twice that of the mean.",
    wrong={
        -1000: "That is one of the two possibilities. What would its squared error be where the sinus is closed?",
        0: "That is one of the two possibilities. What would its squared error be where the sinus is open?",
        500: "Mind the sign: both values are 0 or below.",
    },
)
