"""Slices through the brains of phantom patients, with the truth: the tissue of every pixel, and the ventricles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mrctlib.phantom.geometry import FIELD_OF_VIEW_MM
from mrctlib.phantom.head import draw_patient
from mrctlib.phantom.imaging import Scanner
from mrctlib.phantom.tissues import BRAIN

SHAPE = (96, 96, 24)
# The box around the upper brain: the cerebellum, whose leaves are finer than these voxels, lies below it.
BOX = (slice(18, 78), slice(11, 83), slice(9, 21))
SPACING_MM = tuple(field / voxels for field, voxels in zip(FIELD_OF_VIEW_MM, SHAPE, strict=True))


@dataclass(frozen=True)
class Brains:
    """Stacks of axial slices, (patients, S, R, A): 12 slices of 60 x 72 pixels, spacing `SPACING_MM` = (R, A, S).

    seen: MR by contrast, white matter of T1w near 0.2; labels: 0 other, then 1 + index in `BRAIN`; ventricles: share of
    each voxel.
    """

    seen: dict[str, Tensor]
    labels: Tensor
    ventricles: Tensor

    @property
    def images(self) -> Tensor:
        """The MR in the first contrast that was asked for."""
        return next(iter(self.seen.values()))

    def slices(self) -> tuple[Tensor, Tensor]:
        """(images (N, 1, R, A), labels (N, R, A)) of all patients, one after the other."""
        return self.images.flatten(0, 1)[:, None], self.labels.flatten(0, 1)


def draw_brains(
    seed: int,
    cases: Iterable[int],
    scanner: str | Scanner = "a",
    *,
    contrasts: Sequence[str] = ("t1w",),
    thin: bool = False,
) -> Brains:
    """The brains of phantom patients `cases` of a seed, as a scanner sees them.

    contrasts: see `imaging.CONTRASTS`. thin: slices 4 mm thick with gaps of 4 mm, in place of slices 8 mm thick that
    touch: fewer voxels hold two tissues.
    """
    split = 2 if thin else 1
    shape = (*SHAPE[:2], split * SHAPE[2])
    box = (*BOX[:2], slice(split * BOX[2].start, split * BOX[2].stop, split))
    stacks = []
    for case in cases:
        patient = draw_patient(seed, case, shape)
        volumes = [torch.from_numpy(patient.mr(contrast, scanner)) / 1000 - 0.8 for contrast in contrasts]
        volumes += [torch.from_numpy(patient.labels(BRAIN)), patient.ventricles]
        stacks.append([volume[box].permute(2, 0, 1) for volume in volumes])
    *images, labels, ventricles = (torch.stack(stack) for stack in zip(*stacks, strict=True))
    return Brains(dict(zip(contrasts, images, strict=True)), labels.long(), ventricles)
