"""The exercises of lecture 7: style as a matrix, and what makes grain dear."""

from __future__ import annotations

import torch
from torch import Tensor

from mrctlib.course.exercises.core import Exercise


def gram(maps: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, C): the mean over all places of the product of each two channels. Gatys et al. 2016."""
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def _centred(maps: Tensor) -> Tensor:
    return gram(maps - maps.mean((2, 3), keepdim=True))


def _over_channels(maps: Tensor) -> Tensor:
    flat = maps.flatten(2)
    return flat.transpose(1, 2) @ flat / flat.shape[1]


Exercise(
    "style.gram",
    reference=gram,
    inputs=lambda: torch.randn(2, 3, 4, 5) + 0.5,
    wrong=[
        (lambda maps: gram(maps) * maps[0, 0].numel(), "Divide by the number of places, H times W: else a larger picture has another style."),
        (lambda maps: gram(maps) / maps.shape[1], "Divide by the places alone, not by the channels as well."),
        (_centred, "This is the covariance: the means are left in the Gram matrix."),
        (_over_channels, "This compares places with each other: the channels are what is compared, and the places are summed over."),
        (lambda maps: maps.flatten(2) @ maps.flatten(2) / maps[0, 0].numel(), "The second one must be turned: `flat.transpose(1, 2)`, so that channels meet channels."),
        (lambda maps: gram(maps).mean(0), "One matrix for each image: do not average over the images."),
        (lambda maps: gram(maps).diagonal(dim1=1, dim2=2), "Only the squares of each channel: the products of each *two* make the style."),
        (lambda maps: gram(maps) / gram(maps).norm(dim=(1, 2), keepdim=True), "The size belongs to it: do not normalise."),
        (lambda maps: maps.mean((2, 3))[:, :, None] * maps.mean((2, 3))[:, None], "First the product at each place, then the mean: the product of two means knows nothing of what goes together."),
    ],
)  # fmt: skip


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute step from each pixel to the next one down, plus that to the next one across; a scalar tensor.

    images: (N, C, H, W). Rudin et al. 1992, in its separable form.
    """
    return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()


Exercise(
    "style.total_variation",
    reference=total_variation,
    inputs=lambda: torch.randn(2, 1, 5, 7, requires_grad=True),
    wrong=[
        (lambda x: x.diff(dim=2).square().mean() + x.diff(dim=3).square().mean(), "These are squares: they blur a sharp edge. Take absolute steps."),
        (lambda x: x.diff(dim=2).abs().sum() + x.diff(dim=3).abs().sum(), "Means, not sums: else the weight depends on the size of the picture."),
        (lambda x: x.diff(dim=2).abs().mean(), "The steps across are missing."),
        (lambda x: x.diff(dim=3).abs().mean(), "The steps down are missing."),
        (lambda x: total_variation(x) / 2, "Add the two means, do not average them."),
        (lambda x: x.diff(dim=2).mean().abs() + x.diff(dim=3).mean().abs(), "Up and down cancel: take the absolute value of each step, then the mean."),
        (lambda x: x.diff(dim=2).mean() + x.diff(dim=3).mean(), "Up and down cancel: the absolute values are missing."),
        (lambda x: (x - x.roll(1, 2)).abs().mean() + (x - x.roll(1, 3)).abs().mean(), "`roll` goes round: it compares the first row with the last. Leave out what has no next pixel."),
        (lambda x: (x - x.mean()).abs().mean(), "This is the distance from the mean, which knows nothing of neighbours."),
        (lambda x: x.diff(dim=0).abs().mean() + x.diff(dim=1).abs().sum(), "These are steps from image to image: the picture's axes are 2 and 3."),
        (lambda x: x.detach().diff(dim=2).abs().mean() + x.detach().diff(dim=3).abs().mean(), "No gradient reaches the picture: leave out the detach."),
    ],
)  # fmt: skip
