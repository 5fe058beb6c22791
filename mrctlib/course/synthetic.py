"""What else is said of a synthetic CT: errors by tissue, how much of the MR shows in its brain, and the dose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from mrctlib.course import dose
from mrctlib.metrics import BONE, mae

BRAIN_MM = 25.0  # below the skin


def by_tissue(ct: np.ndarray, sct: np.ndarray, body: np.ndarray) -> dict[str, float]:
    """Mean absolute error in HU where the true CT is air (below -300 HU), soft tissue or bone (above 300 HU); nan where
    the body holds none of it.

    Raises:
        InputError: as for `metrics.mae`.
    """
    parts = {"air": ct < -BONE, "soft_tissue": np.abs(ct) <= BONE, "bone": ct > BONE}
    inside = {name: part & body for name, part in parts.items()}
    return {f"mae_{name}_hu": mae(ct, sct, part) if part.any() else float("nan") for name, part in inside.items()}


def deep_brain(ct: np.ndarray, body: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """What lies deep below the skin and has -50 to 100 HU on the CT: mostly brain."""
    return (ndimage.distance_transform_edt(body, sampling=spacing) > BRAIN_MM) & (ct > -50) & (ct < 100)


def false_specks(ct: np.ndarray, sct: np.ndarray, body: np.ndarray, spacing: Sequence[float]) -> int:
    """How many specks above 150 HU, of 4 voxels or more, a synthetic CT has well inside what the CT shows as brain.

    Of a volume, or of a slice with the spacing in its plane.
    """
    inside = ndimage.binary_erosion(deep_brain(ct, body, spacing), iterations=2)
    specks, _ = ndimage.label((sct > 150) & inside)
    return int((np.bincount(specks.ravel())[1:] >= 4).sum())


def shine_through(
    mr: np.ndarray, image: np.ndarray, ct: np.ndarray, body: np.ndarray, spacing: Sequence[float]
) -> float:
    """By how many HU an image rises in the brain where the MR is one standard deviation brighter.

    nan where there is no `deep_brain`. Of the CT itself it says how much of the MR a right answer shows.
    """
    brain = deep_brain(ct, body, spacing)
    if not brain.any():
        return float("nan")
    return float(np.cov(mr[brain], image[brain])[0, 1] / mr[brain].std())


def dose_off(ct: np.ndarray, sct: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> float:
    """By how many percent the mean dose in a ball in the middle of the head is off, without its sign, for the beams
    that `dose.dose_difference` takes if not told otherwise."""
    target = dose.central_target(mask, spacing)
    return abs(float(dose.dose_difference(ct, sct, mask, target, spacing)[target > 0].mean()))
