"""Cohorts: folders of cases on disk, and the slices that a network is trained on.

A case is a folder with `mr.nii.gz`, `ct.nii.gz` and `mask.nii.gz` on one grid (the SynthRAD2023 layout). For unpaired
training either image may be missing; without a mask the body is found in the image.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from mrctlib.data.planes import turned
from mrctlib.data.volumes import Volume, body_mask, check_same_grid, normalise_ct, normalise_mr, read_volume, resample
from mrctlib.runtime import InputError, derive_seed

MIN_BODY_SHARE = 0.05  # slices with less body than this teach nothing but background


@dataclass(frozen=True)
class Case:
    """The folder of one patient."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def path(self, kind: str) -> Path | None:
        """The file of `kind` ("mr", "ct", "mask" or "lesion"), or None."""
        return next((p for p in (self.folder / f"{kind}.nii.gz", self.folder / f"{kind}.nii") if p.exists()), None)

    def volume(self, kind: str) -> Volume:
        """Read one image.

        Raises:
            InputError: it is missing, or see `read_volume`.
        """
        path = self.path(kind)
        if path is None:
            raise InputError(f"{self.folder}: has no {kind}.nii.gz; every case needs one here")
        return read_volume(path)

    def body(self, image: Volume, modality: str) -> np.ndarray:
        """The body mask on the grid of `image`, (R, A, S) bool: from the mask file, else found in the image.

        Raises:
            InputError: the mask is empty, or on another grid.
        """
        path = self.path("mask")
        if path is None:
            return body_mask(image, modality)
        mask = self.volume("mask")
        check_same_grid(image, mask, f"{self.folder}: {modality}", "mask")
        if not (mask.data > 0.5).any():
            raise InputError(f"{path}: the mask is empty; give one that covers the body, or none")
        return mask.data > 0.5

    def pair(self) -> tuple[Volume, Volume, np.ndarray]:
        """(MR, CT, body mask) on one grid.

        Raises:
            InputError: one is missing, they differ in shape or grid, the mask is empty, or the MR constant.
        """
        mr, ct = self.volume("mr"), self.volume("ct")
        check_same_grid(mr, ct, f"{self.folder}: mr", "ct")
        return mr, ct, self.body(mr, "mr")


@dataclass(frozen=True)
class TurnedCase(Case):
    """A patient turned so that the slices of `plane` lie where axial slices lie."""

    plane: str = "axial"

    def volume(self, kind: str) -> Volume:
        return turned(super().volume(kind), self.plane)


def find_cases(folder: str | Path) -> list[Case]:
    """All cases in a cohort folder, by name; a single case folder counts as a cohort of one.

    Raises:
        InputError: the folder is missing or holds no case.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one that holds case folders with mr.nii.gz and ct.nii.gz")
    found = [case for case in map(Case, [folder, *sorted(folder.iterdir())]) if case.path("mr") or case.path("ct")]
    if not found:
        raise InputError(f"{folder}: no cases in it; each case is a folder with mr.nii.gz and ct.nii.gz")
    return found


def real_pair() -> Case | None:
    """The MNI template pair in `MRCT_DATA/mr_ct/1MNI01`, if it is there."""
    folder = Path(os.environ.get("MRCT_DATA", ""), "mr_ct", "1MNI01")
    return Case(folder) if os.environ.get("MRCT_DATA") and folder.is_dir() else None


def split_cases(cases: Sequence[Case], shares: Sequence[float], seed: int = 0) -> list[list[Case]]:
    """Split patients, never slices: parts of about `shares` of the cases, in an order drawn from `seed`."""
    order = sorted(cases, key=lambda case: case.name)
    random.Random(derive_seed(seed, "split")).shuffle(order)
    edges = np.round(np.cumsum([0, *shares]) / sum(shares) * len(order)).astype(int)
    return [sorted(order[a:b], key=lambda case: case.name) for a, b in zip(edges[:-1], edges[1:], strict=True)]


# ---------------------------------------------------------------------------------------------------- slices


@dataclass(frozen=True)
class SliceSet:
    """Axial slices of one modality, normalised, ready for batches.

    images: (N, 1, size, size) float32 in [-1, 1], rows along R, columns along A; depths: the same shape, mm below the
    surface of the body in the slice, 0 outside; heights: (N,) from 0 (lowest slice with body) to 1 (highest) in its own
    patient; patients: (N,) index of the patient.
    """

    images: Tensor
    depths: Tensor
    heights: Tensor
    patients: Tensor

    @property
    def masks(self) -> Tensor:
        """The body: bool, the shape of `images`."""
        return self.depths > 0

    def __len__(self) -> int:
        return len(self.images)


def slice_set(cases: Sequence[Case], modality: str, spacing: float, size: int) -> SliceSet:
    """All axial slices of "mr" or "ct" with at least 5% body, at `spacing` mm, cut or padded to `size` about the body.

    Raises:
        InputError: no cases, or see `Case`.
    """
    parts = []
    for number, case in enumerate(cases):
        volume = case.volume(modality)
        try:
            parts.append(_case_slices(volume, case.body(volume, modality), modality, spacing, size, number))
        except InputError as error:
            raise InputError(str(error) if str(case.folder) in str(error) else f"{case.folder}: {error}") from error
    if not parts:
        raise InputError(f"no {modality.upper()} to learn from: no case has a {modality}.nii.gz")
    return SliceSet(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _case_slices(
    volume: Volume, body: np.ndarray, modality: str, spacing: float, size: int, number: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    normalise = {"mr": normalise_mr, "ct": normalise_ct}[modality]
    images, _ = to_stack(volume.like(normalise(volume.data, body)), spacing)
    masks = to_stack(volume.like(body), spacing)[0] > 0.5
    filled = masks.flatten(1).float().mean(1)
    with_body = torch.nonzero(filled > 0).flatten()
    if not len(with_body):
        raise InputError("the body covers no voxel at this spacing; is the mask right?")
    low, high = int(with_body[0]), int(with_body[-1])
    heights = (torch.arange(len(masks)) - low) / max(high - low, 1)
    keep = filled >= MIN_BODY_SHARE
    middle, _ = body_window(masks)
    images = cut_about(images, middle, size, fill=-1.0)[keep]
    depths = cut_about(depth_below_surface(masks, spacing), middle, size, fill=0.0)[keep]
    return images, depths, heights[keep], torch.full((int(keep.sum()),), number)


def to_stack(volume: Volume, spacing: float) -> tuple[Tensor, Volume]:
    """(axial slices as (S, 1, R, A), the volume they are of): resampled in the plane to `spacing` mm, not along S."""
    plane = resample(volume, (spacing, spacing, volume.spacing[2]))
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(plane.data, 2, 0)))[:, None], plane


def depth_below_surface(masks: Tensor, spacing: float) -> Tensor:
    """(N, 1, H, W) bool to float: mm from each pixel of the body to the nearest one outside it in its slice."""
    depths = [ndimage.distance_transform_edt(mask) * spacing for mask in masks[:, 0].numpy()]
    return torch.from_numpy(np.stack(depths)).float()[:, None]


def body_window(masks: Tensor) -> tuple[tuple[int, int], int]:
    """((row, column) in the middle of the body in any slice of (N, 1, H, W), its larger extent in pixels)."""
    spans = [torch.nonzero(masks.any(0)[0].any(1 - axis)).flatten() for axis in (0, 1)]
    middle = tuple(int(span[0] + span[-1] + 1) // 2 for span in spans)
    return middle, max(int(span[-1] - span[0]) + 1 for span in spans)


def cut_about(stack: Tensor, middle: Sequence[int], size: int, fill: float) -> Tensor:
    """A (N, 1, size, size) window of (N, 1, H, W) with `middle` = (row, column) at its centre, padded with `fill`."""
    top, left = (centre - size // 2 for centre in middle)
    bottom, right = top + size - stack.shape[2], left + size - stack.shape[3]
    return F.pad(stack, (-left, right, -top, bottom), value=fill)  # a negative pad cuts


def paste_about(window: Tensor, middle: Sequence[int], shape: Sequence[int], fill: float) -> Tensor:
    """The inverse of `cut_about`: the window back in its place in (N, 1, *shape), `fill` around it."""
    size = window.shape[-1]
    top, left = (centre - size // 2 for centre in middle)
    return F.pad(window, (left, shape[1] - left - size, top, shape[0] - top - size), value=fill)


def unpaired_halves(cases: Sequence[Case], seed: int = 0) -> tuple[list[Case], list[Case]]:
    """Patients whose MR is used, and patients whose CT is used: no patient in both, so there is no pair to learn from.

    A cohort of a single case with both images is used for both: its slices are then drawn independently.
    """
    both = [case for case in cases if case.path("mr") and case.path("ct")]
    mr_only = [case for case in cases if case.path("mr") and not case.path("ct")]
    ct_only = [case for case in cases if case.path("ct") and not case.path("mr")]
    if len(cases) == 1 and both:
        return both, both
    for_mr, for_ct = split_cases(both, (1 + len(ct_only), 1 + len(mr_only)), seed)
    return mr_only + for_mr, ct_only + for_ct


def unpaired_batch(
    mr: SliceSet, ct: SliceSet, size: int, generator: torch.Generator, *, matched: bool = True
) -> tuple[Tensor, Tensor]:
    """Indices (into MR, into CT) of a batch of `size` slices that were never a pair.

    matched: draw each CT slice from the same relative height as its MR slice (within 3%, or else the nearest), so that
    a batch compares eyes with eyes; otherwise from anywhere.

    Raises:
        InputError: fewer slices than a batch.
    """
    if min(len(mr), len(ct)) < size:
        raise InputError(f"{len(mr)} MR and {len(ct)} CT slices are fewer than a batch of {size}: add cases")
    i = torch.randperm(len(mr), generator=generator)[:size]
    if not matched:
        return i, torch.randperm(len(ct), generator=generator)[:size]
    distance = (mr.heights[i][:, None] - ct.heights[None]).abs()
    near = (distance <= torch.clamp(distance.amin(1, keepdim=True), min=0.03)).float()
    return i, torch.multinomial(near, 1, generator=generator)[:, 0]


# ---------------------------------------------------------------------------------------------------- the typical body

DEPTH_BIN_MM, DEPTH_BINS, SECTORS, HEIGHT_BINS = 3.2, 25, 12, 20
CELLS = SECTORS * DEPTH_BINS


def typical_body(slices: SliceSet) -> Tensor:
    """Mean intensity by relative height and by cell (see `cells`), (HEIGHT_BINS, CELLS).

    It knows the population and no patient: a baseline that a translation must beat, and a target for its averages.
    """
    index = (height_bins(slices.heights) * CELLS + cells(slices.depths))[slices.masks]
    count = torch.bincount(index, minlength=HEIGHT_BINS * CELLS)
    total = torch.bincount(index, slices.images[slices.masks].double(), minlength=HEIGHT_BINS * CELLS)
    table = (total / count).float().reshape(HEIGHT_BINS, SECTORS, DEPTH_BINS)
    for depth in range(1, DEPTH_BINS):  # deeper than anybody is there: go on as one step less deep
        table[..., depth] = torch.where(table[..., depth].isnan(), table[..., depth - 1], table[..., depth])
    return table.nan_to_num(-1.0).reshape(HEIGHT_BINS, CELLS)


def draw_typical(table: Tensor, heights: Tensor, depths: Tensor) -> Tensor:
    """The typical image for bodies of these (N,) heights and (N, 1, H, W) depths; -1 outside the body."""
    columns = cells(depths)
    return torch.where(depths > 0, table[height_bins(heights).expand_as(columns), columns], -1.0)


def height_bins(heights: Tensor) -> Tensor:
    """(N,) relative heights to (N, 1, 1, 1) bin numbers."""
    return (heights * HEIGHT_BINS).long().clamp(0, HEIGHT_BINS - 1)[:, None, None, None]


def cells(depths: Tensor) -> Tensor:
    """(N, 1, H, W) depths in mm to cell numbers: which 3.2 mm layer below the skin, in which of 12 directions.

    Directions go from the front to the back as seen from the middle of the window; right and left count alike.
    """
    side = torch.linspace(-1, 1, depths.shape[2], device=depths.device).abs()[:, None]
    front = torch.linspace(-1, 1, depths.shape[3], device=depths.device)[None]
    sector = (torch.atan2(side, front) / torch.pi * SECTORS).long().clamp(max=SECTORS - 1)
    return sector * DEPTH_BINS + (depths / DEPTH_BIN_MM).long().clamp(0, DEPTH_BINS - 1)
