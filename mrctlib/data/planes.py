"""Volumes cut into slices along three axes, put together again, and fused: how flat networks see three dimensions.

Batches of volumes are tensors (N, C, R, A, S) as everywhere: right, front, up. A plane is named as radiologists name
it; its slices are what remains when its own axis is taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mrctlib.data.volumes import Volume
from mrctlib.runtime import InputError

AXES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The axis of (R, A, S) along which the slices of a plane lie one behind the other."""


def axis_of(plane: str) -> int:
    """The axis of (R, A, S) along which the slices of `plane` lie one behind the other.

    Raises:
        InputError: there is no plane of that name.
    """
    if plane not in AXES:
        raise InputError(f"plane {plane!r}: choose one of {', '.join(AXES)}")
    return AXES[plane]


def cut(volumes: Tensor, plane: str) -> Tensor:
    """(N, C, R, A, S) to all its slices, (N * slices, C, H, W): those of the first volume first.

    Axial slices are (R, A), coronal (R, S), sagittal (A, S).

    Raises:
        InputError: an unknown plane, or a tensor that has not five axes.
    """
    if volumes.dim() != 5:
        raise InputError(f"volumes of shape {tuple(volumes.shape)}: give a batch (N, channels, R, A, S)")
    return volumes.movedim(2 + axis_of(plane), 1).flatten(0, 1).contiguous()


def stack(slices: Tensor, plane: str, count: int) -> Tensor:
    """The way back: slices (N * slices, C, H, W) of `count` = N volumes to (N, C, R, A, S).

    Raises:
        InputError: an unknown plane, or slices that do not make up `count` volumes of one size.
    """
    if slices.dim() != 4 or count < 1 or len(slices) % count:
        raise InputError(f"slices of shape {tuple(slices.shape)} do not make up {count} volumes of one size")
    return slices.unflatten(0, (count, -1)).movedim(1, 2 + axis_of(plane)).contiguous()


def turned(volume: Volume, plane: str, *, back: bool = False) -> Volume:
    """The same voxels with the axis across `plane` last, where axial slices have theirs; or back from there."""
    axis = axis_of(plane)
    order = [*(other for other in range(3) if other != axis), axis]
    if back:
        order = list(np.argsort(order))
    affine = volume.affine.copy()
    affine[:, :3] = affine[:, order]
    return replace(volume, data=volume.data.transpose(order), affine=affine)


def fuse(candidates: Sequence[Tensor]) -> Tensor:
    """The mean of several answers to one question, each of the same shape.

    Errors that the candidates do not share partly cancel; what all of them get wrong stays.

    Raises:
        InputError: there is nothing to fuse, or shapes differ.
    """
    if len({tuple(candidate.shape) for candidate in candidates}) != 1:
        shapes = ", ".join(str(tuple(candidate.shape)) for candidate in candidates) or "none"
        raise InputError(f"fuse needs candidates of one shape, not {shapes}")
    return torch.stack(list(candidates)).mean(0)


def step_between_slices(error: np.ndarray, mask: np.ndarray, plane: str) -> float:
    """Mean absolute step of an error map (R, A, S) from one slice of a plane to the next, where both lie in the mask.

    A network that sees one slice at a time gives each its own error, so the error jumps across its slices more than
    along them: that is how stitched slices show.

    Raises:
        InputError: an unknown plane, shapes that differ, or a mask with no two neighbours.
    """
    axis = axis_of(plane)
    error, mask = np.asarray(error, np.float64), np.asarray(mask) > 0
    if error.shape != mask.shape or error.ndim != 3:
        raise InputError(f"an error map {error.shape} and a mask {mask.shape}: give two volumes of one shape")
    low, high = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
    both = mask[low] & mask[high]
    if not both.any():
        raise InputError(f"no two neighbouring {plane} slices lie in the mask: there is no step to measure")
    return float(np.abs(error[high] - error[low])[both].mean())
