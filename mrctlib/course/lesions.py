"""Slices through phantom brains with a lesion, another kind of lesion or none; where it lies is known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mrctlib.phantom.head import Patient, draw_patient
from mrctlib.phantom.tissues import BRAIN
from mrctlib.runtime import InputError, derive_seed

FINDINGS = ("no lesion", "tumour", "calcification")
RADIUS_MM = (9.0, 17.0)
SHAPE = (96, 96, 30)
# Heights above the face and below the top of the brain, with air all round.
BOX = (slice(16, 80), slice(8, 88), slice(12, 24))


@dataclass(frozen=True)
class LesionSlices:
    """Axial T2-weighted slices as radiologists look at them: front at the top, the patient's right on the left.

    images: (N, 1, 80, 64), white matter near 1, air 0; classes: (N,), index into `FINDINGS`; masks: (N, 1, 80, 64),
    true in the lesion, empty without one; patients: (N,), the case that a slice is from. Pixels of 2.7 mm, or fewer and
    larger ones where they were drawn coarser.
    """

    images: Tensor
    classes: Tensor
    masks: Tensor
    patients: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: Tensor | slice) -> LesionSlices:
        """Some of the slices."""
        return LesionSlices(self.images[chosen], self.classes[chosen], self.masks[chosen], self.patients[chosen])


def draw_lesion_slices(
    seed: int,
    cases: Iterable[int],
    times: int = 1,
    *,
    findings: Sequence[str] = FINDINGS,
    radius_mm: tuple[float, float] = RADIUS_MM,
    coarser: int = 1,
    scanner: str = "a",
) -> LesionSlices:
    """Twelve slices of each phantom patient in `cases`, `times` over; each finding has the same chance in every slice.

    A lesion is put into each slice for itself, anywhere in the brain: neighbours in one head do not share it, and
    neither its place nor the height of the slice says which kind it is.

    Args:
        findings: those of `FINDINGS` that occur; the same patients drawn with others differ in nothing else.
        radius_mm: mean radius of the smallest and the largest lesion.
        coarser: how many times as wide the pixels are: 1, 2 (40 x 32 pixels) or 4.
        scanner: that sees them.

    Raises:
        InputError: a finding that is not in `FINDINGS`, another `coarser`, or an unknown scanner.
    """
    if not findings or set(findings) - set(FINDINGS):
        raise InputError(f"findings {tuple(findings)}: choose from {', '.join(FINDINGS)}")
    if coarser not in (1, 2, 4):
        raise InputError(f"coarser {coarser!r}: choose 1, 2 or 4")
    kinds = torch.tensor([FINDINGS.index(finding) for finding in findings])
    shape = (SHAPE[0] // coarser, SHAPE[1] // coarser, SHAPE[2])
    patients = (draw_patient(seed, case, shape, scanner=scanner) for case in cases)
    parts = [_slices(patient, time, kinds, radius_mm) for patient in patients for time in range(times)]
    return LesionSlices(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _slices(
    patient: Patient, time: int, kinds: Tensor, radius_mm: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, classes, masks and case of one patient; another `time` gives the same head other lesions."""
    generator = torch.Generator().manual_seed(derive_seed(patient.seed, patient.case, "lesions", time))
    brain = sum(patient.fractions[tissue] for tissue in BRAIN)
    share = {finding: torch.zeros(patient.space.shape) for finding in FINDINGS[1:]}
    classes = kinds[torch.randint(len(kinds), (SHAPE[2],), generator=generator)]
    for height, kind in enumerate(classes):
        at = ..., height
        inside = brain[at] - patient.fractions["csf"][at] > 0.9
        if not inside.any():  # above a small brain
            classes[height] = 0
        elif kind > 0:
            lesion = _lesion(inside, generator, radius_mm, patient.space.spacing[0])
            share[FINDINGS[kind]][at] = lesion * brain[at]
    left = 1 - sum(share.values())
    painted = {name: fraction * left for name, fraction in patient.fractions.items()}
    mr = torch.from_numpy(replace(patient, fractions=painted | share).mr("t2w"))
    images, masks = _as_seen(mr / 1000), _as_seen(left) < 0.5
    return images, classes[BOX[2]], masks, torch.full((len(images),), patient.case)


def _lesion(inside: Tensor, generator: torch.Generator, radius_mm: tuple[float, float], pixel_mm: float) -> Tensor:
    """Share of each pixel, (R, A), of a lumpy disc whose middle is one of the pixels `inside`."""
    pixels = inside.nonzero()
    centre = pixels[torch.randint(len(pixels), (1,), generator=generator)][0]
    size, *phases = torch.rand(3, generator=generator).tolist()
    across, along = ((torch.arange(n) - middle) * pixel_mm for n, middle in zip(inside.shape, centre, strict=True))
    distance, angle = torch.hypot(across[:, None], along[None, :]), torch.atan2(across[:, None], along[None, :])
    lumps = sum(0.12 * torch.cos(n * angle + 2 * math.pi * phase) for n, phase in zip((2, 3), phases, strict=True))
    radius = (radius_mm[0] + (radius_mm[1] - radius_mm[0]) * size) * (1 + lumps)
    return (0.5 + (radius - distance) / pixel_mm).clamp(0, 1)


def _as_seen(volume: Tensor) -> Tensor:
    """(R, A, S) of the head to (slices, 1, rows, columns) of the box around the upper brain."""
    coarser = SHAPE[0] // volume.shape[0]
    across, along = (slice(side.start // coarser, side.stop // coarser) for side in BOX[:2])
    return volume[across, along, BOX[2]].permute(2, 1, 0).flip(1, 2)[:, None].contiguous()
