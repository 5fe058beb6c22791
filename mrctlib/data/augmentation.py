"""More from few patients: images and their labels bent together, smoothly and at random."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mrctlib.runtime import InputError


def smooth_displacement(count: int, height: int, width: int, strength: float, knots: int = 4) -> Tensor:
    """Random displacements in pixels, (count, 2, height, width): down, then to the right.

    Normal numbers with standard deviation `strength` on a coarse grid of knots x knots points, and cubic interpolation
    in between: the recipe of Ronneberger et al. 2015, section 3.1 (there 3 x 3 points and 10 pixels).
    """
    coarse = strength * torch.randn(count, 2, knots, knots)
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)


def deform(images: Tensor, labels: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
    """Bend images (N, C, H, W) and labels (N, H, W) by the same displacement (N, 2, H, W) in pixels: down, right.

    The new pixel (row, column) is fetched from (row + down, column + right); from outside comes the nearest border.
    Images are interpolated linearly. Labels are names, not amounts: they come from the nearest pixel.

    Raises:
        InputError: images, labels and displacement differ in number, height or width.
    """
    count, _, height, width = images.shape
    if labels.shape != (count, height, width) or displacement.shape != (count, 2, height, width):
        raise InputError(
            f"images {tuple(images.shape)}, labels {tuple(labels.shape)} and displacement {tuple(displacement.shape)} "
            "do not fit: one label for each pixel, and two displacements"
        )
    rows = torch.arange(height)[:, None] + displacement[:, 0]
    columns = torch.arange(width) + displacement[:, 1]
    # grid_sample wants (right, down), from -1 in the middle of the first pixel to 1 in the middle of the last.
    places = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], -1).to(images)
    bent = F.grid_sample(images, places, "bilinear", padding_mode="border", align_corners=True)
    named = F.grid_sample(labels[:, None].to(images), places, "nearest", padding_mode="border", align_corners=True)
    return bent, named[:, 0].to(labels.dtype)


def elastic(images: Tensor, labels: Tensor, strength: float = 2.0) -> tuple[Tensor, Tensor]:
    """Each image and its labels bent by a smooth random displacement of their own: an `augment` for `fit`."""
    count, _, height, width = images.shape
    return deform(images, labels, smooth_displacement(count, height, width, strength))
