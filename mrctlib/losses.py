"""What a translation network is asked for: pure functions of tensors, each a scalar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mrctlib.data.slices import CELLS, cells


def least_squares_gan(scores: Tensor, real: bool, weight: Tensor | None = None) -> Tensor:
    """Mean squared distance of the scores, any shape, from 1 (should look real) or 0 (fake). Mao et al. 2017.

    weight: how much each score counts (the same shape); default: all alike.
    """
    return _mean((scores - float(real)) ** 2, weight)


def cross_entropy_gan(scores: Tensor, real: bool) -> Tensor:
    """The first GAN loss on scores before the sigmoid: -log p for real, -log(1 - p) for fake. Goodfellow et al. 2014.

    For the generator call it with real=True: the form that does not saturate.
    """
    return F.softplus(-scores if real else scores).mean()


def mean_where(body: Tensor, values: Tensor) -> Tensor:
    """The mean over a bool mask; to pick the values out would make the host wait until a GPU has counted them."""
    return _mean(values, body.to(values.dtype))


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    return values.mean() if weight is None else (values * weight).sum() / weight.sum().clamp(min=1e-6)


@dataclass(frozen=True)
class GanLoss:
    """What each player of a GAN is asked to make small, from scores before any sigmoid.

    discriminator: (scores of real, scores of fake) to a scalar; generator: scores of fake to a scalar.
    """

    name: str
    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _tell_apart(real: Tensor, fake: Tensor) -> Tensor:
    return cross_entropy_gan(real, True) + cross_entropy_gan(fake, False)


# Goodfellow et al. 2014: the game as it is written (equation 1), and the generator's loss that the paper advises.
SATURATING = GanLoss("saturating", _tell_apart, lambda fake: -cross_entropy_gan(fake, False))
NON_SATURATING = GanLoss("non-saturating", _tell_apart, lambda fake: cross_entropy_gan(fake, True))
LEAST_SQUARES = GanLoss(  # Mao et al. 2017
    "least squares",
    lambda real, fake: least_squares_gan(real, True) + least_squares_gan(fake, False),
    lambda fake: least_squares_gan(fake, True),
)
HINGE = GanLoss(  # Lim and Ye 2017
    "hinge", lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda fake: -fake.mean()
)
# Arjovsky et al. 2017: needs a critic that is not too steep, by clipping its weights or by `gradient_penalty`.
WASSERSTEIN = GanLoss("Wasserstein", lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean())


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, weight: float = 10.0) -> Tensor:
    """How far the critic's slope is from 1 at random points between real and fake. Gulrajani et al. 2017, equation 3.

    real, fake: (N, ...); a scalar: weight times the mean of (|slope| - 1)^2.
    """
    between = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    points = torch.lerp(fake.detach().to(real.dtype), real, between.to(real.dtype)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return weight * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


def r1_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, weight: float = 1.0) -> Tensor:
    """How steep the critic is at real examples (N, ...): weight / 2 times the mean of |slope|^2. Mescheder et al. 2018.

    `fake` is not looked at; it is there so that the penalties are called alike.
    """
    points = real.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return weight / 2 * slope.flatten(1).square().sum(1).mean()


def cycle_consistency(real: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean absolute difference between an image and its return: |G_mr(G_ct(x)) - x|. Zhu et al. 2017, equation 2."""
    return (reconstructed - real).abs().mean()


def identity(real: Tensor, unchanged: Tensor) -> Tensor:
    """Mean absolute change of an image that is already in the target domain: |G_ct(ct) - ct|. Zhu et al. 2017, 5.2."""
    return (unchanged - real).abs().mean()


def mind(images: Tensor) -> Tensor:
    """Modality independent neighbourhood descriptor: (N, 1, H, W) to (N, 4, H, W) in (0, 1]. Heinrich et al. 2012.

    For each pixel and each of its four neighbours: how alike are the small patches around the two, compared with the
    local variation? It keeps where things change and forgets how bright they are and in which direction they change.
    """
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    height, width = images.shape[-2:]
    corners = ((2, 1), (0, 1), (1, 2), (1, 0))  # of the same image, moved by a pixel each way
    shifted = [padded[..., a : a + height, b : b + width] for a, b in corners]
    squared = torch.cat([(images - s) ** 2 for s in shifted], 1)
    distance = F.avg_pool2d(squared, 3, stride=1, padding=1, count_include_pad=False)
    variation = distance.mean(1, keepdim=True).clamp(min=1e-4)
    return torch.exp(-distance / variation)


def mind_consistency(source: Tensor, translated: Tensor) -> Tensor:
    """Mean absolute difference of the descriptors: small where anatomy stayed in place (Yang et al. 2018)."""
    return (mind(source) - mind(translated)).abs().mean()


def background(translated: Tensor, depth: Tensor, typical: Tensor) -> Tensor:
    """Mean absolute difference from what is typical (air) where the depth is 0, outside the body. All (N, 1, H, W)."""
    return mean_where(depth == 0, (translated - typical).abs())


def profile(translated: Tensor, depth: Tensor, typical: Tensor) -> Tensor:
    """How far the averages at each depth below the skin are from those of the other modality. All (N, 1, H, W).

    Averages, not pixels: all pixels of a slice in one cell (a 3.2 mm layer in one of 12 directions) are compared as one
    number, so the anatomy within the cell stays free. Without this a young CycleGAN matches brightness with brightness
    and turns fat into bone.
    """
    cell = cells(depth).flatten(1)
    inside = (depth > 0).float()
    excess = ((translated - typical) * inside).float().flatten(1)
    sums = torch.zeros(len(excess), CELLS, device=excess.device).scatter_add(1, cell, excess)
    return sums.abs().sum() / inside.sum().clamp(min=1)


@dataclass(frozen=True)
class Schedule:
    """A weight that goes in a straight line from `start` to `end` over a share `until` of the training, then stays."""

    start: float
    end: float
    until: float = 1.0

    def at(self, done: float) -> float:
        """The weight when a share `done` (0 to 1) of the training is over."""
        return self.start + (self.end - self.start) * min(1.0, done / self.until)


OFF = Schedule(0, 0)
