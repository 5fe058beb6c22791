"""Lesions that a translation took away, moved or made up: counted against masks of those that are there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mrctlib.runtime import InputError


@dataclass(frozen=True)
class LesionCount:
    """What became of the lesions of N images.

    removed: (lesions,), true where the lesion's place looks healthy; shifts: (lesions,), how many mm the blob at that
    place lies off, nan where it is removed; added: (blobs, 3), image, row and column of the middle of every blob that
    lies on no lesion; sizes: (blobs,), their areas in pixels; images: N.
    """

    removed: Tensor
    shifts: Tensor
    added: Tensor
    sizes: Tensor
    images: int

    def rates(self, allowed_mm: float) -> dict[str, float]:
        """Share of lesions `removed`, share of lesions `moved` by more than `allowed_mm`, blobs `added` per image.

        Without any lesion the two shares are nan.
        """
        return {
            "removed": float(self.removed.double().mean()),
            "moved": float((self.shifts > allowed_mm).double().mean()),
            "added": len(self.added) / self.images,
        }


def count_lesions(
    images: Tensor, masks: Tensor, healthy: float, lesion: float, smallest: int, pixel_mm: float = 1.0
) -> LesionCount:
    """Count bright lesions in images (N, 1, H, W) against masks of those that are there, at most one in each image.

    What lies nearer to `lesion` than to `healthy` (the brightest healthy tissue) looks like lesion. A lesion is removed
    if the mean inside its mask does not. Pixels that do and touch, also by a corner, are a blob; a blob of at least
    `smallest` pixels that shares none with the mask is added. A lesion that moved off its mask is thus removed *and*
    added. Try it on true images first: it should find all lesions and nothing else.

    Raises:
        InputError: images and masks of different shapes, or a lesion that is not brighter than healthy tissue.
    """
    if images.shape != masks.shape or images.dim() != 4 or images.shape[1] != 1:
        raise InputError(
            f"images are {tuple(images.shape)}, masks {tuple(masks.shape)}: give (N, 1, H, W) of both, one each"
        )
    if lesion <= healthy:
        raise InputError(f"lesion is {lesion:g}, healthy {healthy:g}: only lesions brighter than all else are counted")
    halfway = (healthy + lesion) / 2
    removed, shifts, added, sizes = [], [], [], []
    for number, (image, mask) in enumerate(zip(images[:, 0].numpy(), masks[:, 0].bool().numpy(), strict=True)):
        labels, found = ndimage.label(image > halfway, structure=np.ones((3, 3)))
        hit = set(labels[mask].tolist()) - {0}
        if mask.any():
            gone = image[mask].mean() < halfway
            removed.append(bool(gone))
            shifts.append(np.nan if gone else _between(np.isin(labels, list(hit)), mask) * pixel_mm)
        for blob in set(range(1, found + 1)) - hit:
            if (area := int((labels == blob).sum())) >= smallest:
                added.append((number, *ndimage.center_of_mass(labels == blob)))
                sizes.append(area)
    return LesionCount(
        torch.tensor(removed, dtype=torch.bool),
        torch.tensor(shifts, dtype=torch.float64),
        torch.tensor(added, dtype=torch.float64).reshape(-1, 3),
        torch.tensor(sizes, dtype=torch.long),
        len(images),
    )


def _between(a: np.ndarray, b: np.ndarray) -> float:
    """Pixels between the middles of two areas (H, W)."""
    return float(np.hypot(*np.subtract(ndimage.center_of_mass(a), ndimage.center_of_mass(b))))
