"""What a translation network is asked for: pure functions of tensors, each a scalar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mrctlib.data.cohorts import CELLS, cells


def least_squares_gan(scores: Tensor, real: bool, weight: Tensor | None = None) -> Tensor:
    """Mean squared distance of the scores, any shape, from 1 (should look real) or 0 (fake). Mao et al. 2017.

    weight: how much each score counts (the same shape); default: all alike.
    """
    return _mean((scores - float(real)) ** 2, weight)


def cross_entropy_gan(scores: Tensor, real: bool, weight: Tensor | None = None) -> Tensor:
    """The first GAN loss on scores before the sigmoid: -log p for real, -log(1 - p) for fake. Goodfellow et al. 2014.

    For the generator call it with real=True: the form that does not saturate. weight: as in `least_squares_gan`.
    """
    return _mean(F.softplus(-scores if real else scores), weight)


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
    points = torch.lerp(fake.detach(), real, between).requires_grad_()
    (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return weight * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()


def cycle_consistency(real: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean absolute difference between an image and its return: |G_mr(G_ct(x)) - x|. Zhu et al. 2017, equation 2."""
    return (reconstructed - real).abs().mean()


def identity(real: Tensor, unchanged: Tensor) -> Tensor:
    """Mean absolute change of an image that is already in the target domain: |G_ct(ct) - ct|. Zhu et al. 2017, 5.2."""
    return (unchanged - real).abs().mean()


def forgiving_huber(difference: Tensor, alpha: float, dead: float) -> Tensor:
    """0 where |a| < `dead`, a^2 / 2 up to `alpha`, alpha (|a| - alpha / 2) beyond, for each difference a, any shape.

    Huber's loss with a dead zone, the form ascribed to Zhao's work on CT from Dixon MR: noise is no error, a small one
    counts by its square, and a large one, which may be the registration's and not the network's, pulls no harder than
    one of alpha.
    """
    size = difference.abs()
    value = torch.where(size <= alpha, size**2 / 2, alpha * (size - alpha / 2))
    return torch.where(size < dead, 0.0, value)


def misregistration(
    prediction: Tensor, target: Tensor, window: int = 5, alpha: float = 0.03, dead: float = 0.01
) -> Tensor:
    """A loss for pairs (N, C, H, W) that lie some pixels apart: both are max-pooled before they are compared.

    After pooling (square window of odd width, stride 1) a thin bright structure, such as the skull, overlaps with its
    shifted self, so that to draw it a pixel off costs less than to leave it out. The same is asked of the negatives:
    the maximum alone says nothing of thin dark structures, and lies above the mean where there is nothing but noise, so
    that a network that follows it is too bright. And the images are compared as they are as well, with the weight of
    both together, since pooled images do not say where in the window an edge lies. The last two are additions of ours.
    """

    def pool(image: Tensor) -> Tensor:
        return F.max_pool2d(image, window, stride=1, padding=window // 2)

    differences = pool(prediction) - pool(target), pool(-prediction) - pool(-target), prediction - target
    brightest, darkest, plain = (forgiving_huber(difference, alpha, dead).mean() for difference in differences)
    return (brightest + darkest) / 2 + plain


def mind(images: Tensor, radius: int = 1) -> Tensor:
    """Modality independent neighbourhood descriptor: (N, 1, H, W) to (N, 4, H, W) in (0, 1]. Heinrich et al. 2012.

    For each pixel and each of its four neighbours: how alike are the small patches around the two, compared with the
    local variation? It keeps where things change and forgets how bright they are and in which direction they change.
    """
    offsets = [(radius, 0), (-radius, 0), (0, radius), (0, -radius)]
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    height, width = images.shape[-2:]
    shifted = [padded[..., radius + a : radius + a + height, radius + b : radius + b + width] for a, b in offsets]
    squared = torch.cat([(images - s) ** 2 for s in shifted], 1)
    distance = F.avg_pool2d(squared, 3, stride=1, padding=1, count_include_pad=False)
    variation = distance.mean(1, keepdim=True).clamp(min=1e-4)
    return torch.exp(-distance / variation)


def mind_consistency(source: Tensor, translated: Tensor) -> Tensor:
    """Mean absolute difference of the descriptors: small where anatomy stayed in place (Yang et al. 2018)."""
    return (mind(source) - mind(translated)).abs().mean()


def background(translated: Tensor, depth: Tensor, typical: Tensor) -> Tensor:
    """Mean absolute difference from what is typical (air) where the depth is 0, outside the body. All (N, 1, H, W)."""
    return _mean((translated - typical).abs(), (depth == 0).float())


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


def soft_dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 minus the overlap of probabilities (from N, C, ...) and labels (N, ...), mean over all classes but 0.

    Class 0 is the background. A tissue counts the same whether it is large or small, which cross entropy does not see
    to. Milletari et al. 2016, with sums in the denominator where they have squares.
    """
    probabilities = logits.softmax(1)
    truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    all_but_class = [0, *range(2, logits.dim())]
    overlap = 2 * (probabilities * truth).sum(all_but_class)
    sizes = (probabilities + truth).sum(all_but_class)
    return 1 - (overlap / sizes.clamp(min=1e-6))[1:].mean()
