"""Finding what was never seen: a search, in a generator's latent space, for the image nearest to a given one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mrctlib.runtime import InputError


def anomaly_score(images: Tensor, made: Tensor, seen: Tensor, seen_made: Tensor, weight: float = 0.1) -> Tensor:
    """How far images lie from what a generator made for them, (N,). Schlegl et al. 2017 (AnoGAN), equations 1 to 5.

    The sum of absolute differences of the pixels, times 1 - weight, and that of the features, times weight. It is
    both: what the search makes small, and, at its end, the anomaly score.

    Args:
        images, made: (N, C, H, W); seen, seen_made: (N, ...), what a layer of the discriminator makes of the two.
        weight: the paper's lambda, from 0 to 1.
    """
    residual = (images - made).abs().flatten(1).sum(1)
    feature = (seen - seen_made).abs().flatten(1).sum(1)
    return (1 - weight) * residual + weight * feature


def search(
    generator: nn.Module, distance: Callable[[Tensor], Tensor], start: Tensor, *, steps: int = 60, rate: float = 0.1
) -> Tensor:
    """Move each latent vector until the image made of it is as near as can be; (N, latent), on the CPU.

    Schlegl et al. 2017. Adam (Kingma and Ba 2015) on the vectors, all at once: no weight of the generator changes.

    Args:
        distance: from what the generator makes, (N, ...), to how far each is from where it should be, (N,).
        start: (N, latent), where the search begins.

    Raises:
        InputError: a distance that is not one number for each vector.
    """
    points = start.detach().clone().to(next(generator.parameters()).device).requires_grad_()
    optimiser = torch.optim.Adam([points], rate)
    generator.eval()
    for _ in range(steps):
        far = distance(generator(points))
        if far.shape != points.shape[:1]:
            raise InputError(f"the distance has shape {tuple(far.shape)}: give one number for each of {len(points)}")
        (points.grad,) = torch.autograd.grad(far.sum(), points)
        optimiser.step()
    return points.detach().cpu()
