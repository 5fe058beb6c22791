"""Cohorts: folders of cases on disk, and how they are split.

A case is a folder with `mr.nii.gz`, `ct.nii.gz` and `mask.nii.gz` on one grid (SynthRAD2023), or `.mha` (SynthRAD2025).
For unpaired training either image may be missing; without a mask the body is found in the image.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrctlib.data.volumes import Volume, body_mask, check_hu, check_same_grid, other_format, read_volume
from mrctlib.runtime import InputError, derive_seed


@dataclass(frozen=True)
class Case:
    """The folder of one patient."""

    folder: Path

    @property
    def name(self) -> str:
        return os.path.basename(os.path.abspath(self.folder))  # also of "."

    def path(self, kind: str) -> Path | None:
        """The file of `kind` ("mr", "ct", "mask" or "lesion"), or None."""
        files = (self.folder / f"{kind}{suffix}" for suffix in (".nii.gz", ".nii", ".mha"))
        return next(filter(os.path.exists, files), None)

    def volume(self, kind: str) -> Volume:
        """Read one image.

        Raises:
            InputError: it is missing, or see `read_volume`.
        """
        path = self.path(kind)
        if path is None:
            what_to_do = other_format(self.folder) or "every case needs one here"
            raise InputError(f"{self.folder}: has no {kind}.nii.gz; {what_to_do}")
        return read_volume(path)

    def body(self, image: Volume, modality: str) -> np.ndarray:
        """The body mask on the grid of `image`, (R, A, S) bool: from the mask file, else found in the image.

        Raises:
            InputError: the mask is empty, or on another grid, or a CT is not in HU.
        """
        path = self.path("mask")
        if path:
            mask = self.volume("mask")
            check_same_grid(image, mask, f"{self.folder}: {modality}", "mask")
        body = mask.data > 0.5 if path else body_mask(image, modality)
        if not body.any():
            raise InputError(f"{path}: the mask is empty; give one that covers the body, or none")
        if modality == "ct":
            check_hu(image.data, body, f"{self.folder}: ct")
        return body

    def pair(self) -> tuple[Volume, Volume, np.ndarray]:
        """(MR, CT, body mask) on one grid.

        Raises:
            InputError: one is missing or on another grid, the mask is empty, the MR constant, or the CT not in HU.
        """
        mr, ct = self.volume("mr"), self.volume("ct")
        check_same_grid(mr, ct, f"{self.folder}: mr", "ct")
        body = self.body(mr, "mr")
        check_hu(ct.data, body, f"{self.folder}: ct")
        if np.ptp(mr.data[body]) == 0:
            raise InputError(f"{self.folder}: the MR is the same everywhere in the mask; give one with some contrast")
        return mr, ct, body


def find_cases(folder: str | Path) -> list[Case]:
    """All cases in a cohort folder, by name; a single case folder counts as a cohort of one.

    Where it holds none, those one level down, or two, as SynthRAD's archives unpack (`Task1/brain/1BA001`); other
    folders beside them, like `overview`, do not count. A folder that may not be read is left out, which is said.

    Raises:
        InputError: the folder is missing or holds no case, or several of one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one that holds case folders with mr.nii.gz and ct.nii.gz")
    other, level = "", list(filter(_readable, [folder]))
    for _ in range(4):
        if found := [case for case in map(Case, level) if case.path("mr") or case.path("ct")]:
            name, count = Counter(case.name for case in found).most_common(1)[0]
            if count > 1:
                raise InputError(f"{folder}: {count} cases are called {name}; give each a name of its own")
            return found
        other = other or next(filter(None, map(other_format, level)), "")
        below = (child for parent in level for child in sorted(parent.iterdir()) if child.is_dir())
        level = list(filter(_readable, below))
    other = other or "each case is a folder with mr.nii.gz and ct.nii.gz"
    raise InputError(f"{folder}: no cases in it, nor up to two levels down; {other}")


def _readable(folder: Path) -> bool:
    allowed = os.access(folder, os.R_OK | os.X_OK)
    if not allowed:
        print(f"{folder}: permission denied; it is left out", file=sys.stderr)
    return allowed


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
