"""Slices through the brains of phantom patients, with the truth: the tissue of every pixel, and the ventricles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mrctlib.phantom.geometry import FIELD_OF_VIEW_MM
from mrctlib.phantom.head import draw_patient
from mrctlib.phantom.tissues import BRAIN

SHAPE = (96, 96, 24)
# The box around the upper brain: the cerebellum, whose leaves are finer than these voxels, lies below it.
BOX = (slice(18, 78), slice(11, 83), slice(9, 21))
SPACING_MM = tuple(field / voxels for field, voxels in zip(FIELD_OF_VIEW_MM, SHAPE, strict=True))


@dataclass(frozen=True)
class Brains:
    """Stacks of axial slices, (patients, S, R, A): 12 slices of 60 x 72 pixels, spacing `SPACING_MM` = (R, A, S).

    images: T1-weighted MR, 0 near the grey of brain; labels: 0 other, then 1 + index in `BRAIN`; ventricles: share of
    each voxel.
    """

    images: Tensor
    labels: Tensor
    ventricles: Tensor

    def slices(self) -> tuple[Tensor, Tensor]:
        """(images (N, 1, R, A), labels (N, R, A)) of all patients, one after the other."""
        return self.images.flatten(0, 1)[:, None], self.labels.flatten(0, 1)


def draw_brains(seed: int, cases: Iterable[int], scanner: str = "a") -> Brains:
    """The brains of phantom patients `cases` of a seed, as scanner `a` or `b` sees them."""
    images, labels, ventricles = [], [], []
    for case in cases:
        patient = draw_patient(seed, case, SHAPE)
        mr, tissue = torch.from_numpy(patient.mr("t1w", scanner)), torch.from_numpy(patient.labels(BRAIN))
        for kept, volume in zip((images, labels, ventricles), (mr, tissue, patient.ventricles), strict=True):
            kept.append(volume[BOX].permute(2, 0, 1))
    return Brains(torch.stack(images) / 1000 - 0.8, torch.stack(labels).long(), torch.stack(ventricles))
