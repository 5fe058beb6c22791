"""How far a synthetic CT is from the real one, inside the body mask, and the baselines it has to beat.

Every function takes whole volumes on one grid: `ct`, `sct` and `mr` are 3-D arrays, CT in HU, and `mask` is true
(or above 0) in the body. What lies outside the mask never counts, and may even be NaN. The one place where it is
looked at is the window of SSIM near the skin: there both volumes are first set to the lowest HU of the range, as the
challenges do, so that the same air surrounds both.

The definitions are facts taken from the evaluation code that the two challenges published:
SynthRAD2023, github.com/SynthRAD2023/metrics, functions/image_metrics.py at fe7e385, and
SynthRAD2025, github.com/SynthRAD2025/evaluation, image_metrics.py at 17cac47 (its early versions stopped at 3000 HU).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity

from mrctlib.runtime import InputError


@dataclass(frozen=True)
class Definition:
    """A challenge's way of measuring: the HU range of PSNR and SSIM, and whether SSIM is taken at several scales."""

    name: str
    low: float
    high: float
    multiscale: bool = False

    @property
    def span(self) -> float:
        """The data range of PSNR and SSIM, in HU."""
        return self.high - self.low

    def __str__(self) -> str:
        """What to print beside a PSNR, e.g. `synthrad2023, [-1024, 3000] HU`."""
        return f"{self.name}, [{self.low:g}, {self.high:g}] HU"


DEFINITIONS = {
    "synthrad2023": Definition("synthrad2023", -1024.0, 3000.0),
    "synthrad2025": Definition("synthrad2025", -1024.0, 3071.0, multiscale=True),
}

AIR = -1000.0  # HU outside the mask of a baseline
BONE = 300.0  # HU, above which a voxel is bone
WINDOW = 7  # voxels, the uniform window of SSIM
SLAB = 32  # voxels along the first axis, of which SSIM is computed at a time
CORE = (slice(WINDOW // 2, -(WINDOW // 2)),) * 3  # where the whole window lies inside the volume
NO_CORE = "the mask lies in the outer 3 voxels of the volume, where SSIM is not defined: pad the volume"
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, multi-scale SSIM, section 3.2
SMALLEST = 97  # voxels: halved four times (97, 49, 25, 13, 7), it still holds one window


def definition_named(name: str) -> Definition:
    """The definition of that name.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    if name not in DEFINITIONS:
        raise InputError(f"no metric definition is called {name!r}: choose one of {', '.join(DEFINITIONS)}")
    return DEFINITIONS[name]


def _checked(mask: np.ndarray, **volumes: np.ndarray) -> np.ndarray:
    """The mask as booleans, once it and the named volumes are known to fit together."""
    mask = np.asarray(mask) > 0
    shapes = {name: np.shape(volume) for name, volume in volumes.items()} | {"mask": mask.shape}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"shapes differ: {told}; resample them onto one grid first")
    if mask.ndim != 3:
        raise InputError(f"volumes of shape {mask.shape} are not 3-D: pass a whole volume, not a slice or a batch")
    if not mask.any():
        raise InputError("the mask is empty: there is no voxel to measure")
    for name, volume in volumes.items():
        if not np.isfinite(np.asarray(volume)[mask]).all():
            raise InputError(f"{name} holds NaN or infinity inside the mask: look at how it was made or resampled")
    return mask


def _both_inside(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Their values inside the mask, 1-D, in float64 so that integers neither wrap round nor lose in a sum."""
    return tuple(np.asarray(volume)[mask].astype(np.float64) for volume in (a, b))


def mae(ct: np.ndarray, sct: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute error inside the mask, in HU, not clipped: the same in SynthRAD2023 and 2025.

    Raises:
        InputError: shapes differ, a volume is not 3-D or not finite inside the mask, or the mask is empty.
    """
    return _mae(*_both_inside(ct, sct, _checked(mask, ct=ct, sct=sct)))


def _mae(real: np.ndarray, fake: np.ndarray) -> float:
    return float(np.abs(real - fake).mean())


def psnr(ct: np.ndarray, sct: np.ndarray, mask: np.ndarray, definition: str = "synthrad2023") -> float:
    """Peak signal-to-noise ratio inside the mask, in dB, after clipping both volumes to the definition's range.

    The peak is the width of that range (4024 or 4095 HU), not the maximum of the CT. Infinite if nothing differs.

    Raises:
        InputError: as for `mae`, or the definition is unknown.
    """
    chosen = definition_named(definition)
    return _psnr(*_both_inside(ct, sct, _checked(mask, ct=ct, sct=sct)), chosen)


def _psnr(real: np.ndarray, fake: np.ndarray, chosen: Definition) -> float:
    real, fake = (np.clip(values, chosen.low, chosen.high) for values in (real, fake))
    error = float(np.mean((real - fake) ** 2))
    return 10 * math.log10(chosen.span**2 / error) if error else math.inf


def ssim(ct: np.ndarray, sct: np.ndarray, mask: np.ndarray, definition: str = "synthrad2023") -> float:
    """Structural similarity in 3-D, averaged over the mask; 1 means identical.

    Both volumes are clipped to the definition's range, set to its lowest value outside the mask and shifted to start
    at 0. SSIM then uses scikit-image's default window (7x7x7, uniform, sample covariance: not the Gaussian one of
    other papers), and voxels within 3 of the volume's edge are left out, since their window is not whole.

    `synthrad2025` multiplies five scales, each half the one before (2x2x2 means; every second voxel of the mask). A
    scale's score is the mean, over the mask, of max(SSIM, 0) to the power of the scale's weight. This is the published
    code, in which brightness counts at every scale; in Wang et al. 2003 it counts at the coarsest alone. A volume
    narrower than 97 voxels along an axis is first widened to 97 by repeating its edge, mask included. Where a mask is
    so small that a scale holds none of it (the published code gives NaN), that scale is left out and the weights of
    the others grow to make up for it.

    Raises:
        InputError: as for `psnr`; or the volume has under 7 voxels along an axis (`synthrad2023` only), or the mask
            lies wholly within 3 voxels of the volume's edge.
    """
    chosen = definition_named(definition)
    return _ssim(ct, sct, _checked(mask, ct=ct, sct=sct), chosen)


def _ssim(ct: np.ndarray, sct: np.ndarray, mask: np.ndarray, chosen: Definition) -> float:
    # float32, as in the challenge: half the memory, and the rounding is far below the constants inside SSIM.
    real, fake = (
        np.where(mask, np.clip(np.asarray(volume, np.float32), chosen.low, chosen.high) - np.float32(chosen.low), 0)
        for volume in (ct, sct)
    )
    if chosen.multiscale:
        return _multiscale_ssim(real, fake, mask, chosen.span)
    if min(mask.shape) < WINDOW:
        raise InputError(f"a volume of shape {mask.shape} is too small: SSIM needs {WINDOW} voxels along every axis")
    if not mask[CORE].any():
        raise InputError(NO_CORE)
    return float(_ssim_map(real, fake, chosen.span)[mask[CORE]].mean(dtype=np.float64))


def _ssim_map(real: np.ndarray, fake: np.ndarray, span: float) -> np.ndarray:
    """SSIM of each voxel whose window is whole: 3 voxels less on every side. In slabs, since it takes many copies."""
    options = {"win_size": WINDOW, "data_range": span, "full": True}
    slabs = (slice(r, r + SLAB + WINDOW - 1) for r in range(0, len(real) - WINDOW + 1, SLAB))
    return np.concatenate([structural_similarity(real[part], fake[part], **options)[1][CORE] for part in slabs])


def _multiscale_ssim(real: np.ndarray, fake: np.ndarray, mask: np.ndarray, span: float) -> float:
    """Masked multi-scale SSIM of SynthRAD2025; see `ssim` for what it does at each scale."""
    missing = [max(SMALLEST - length, 0) for length in mask.shape]
    margins = [(lack // 2, lack - lack // 2) for lack in missing]
    real, fake, mask = (np.pad(volume, margins, mode="edge") for volume in (real, fake, mask))
    score, used = 1.0, 0.0
    for weight in SCALE_WEIGHTS:
        if mask[CORE].any():
            similarity = np.maximum(_ssim_map(real, fake, span)[mask[CORE]], 0)
            score *= float(np.mean(similarity**weight, dtype=np.float64))
            used += weight
        # Voxel 2i becomes the mean of 2i - 1 and 2i along each axis, with 0 beyond the edge, as published.
        real, fake = (ndimage.uniform_filter(v, 2, mode="constant")[::2, ::2, ::2] for v in (real, fake))
        mask = mask[::2, ::2, ::2]
    if not used:
        raise InputError(NO_CORE)
    return score ** (sum(SCALE_WEIGHTS) / used)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks of any one shape, twice the intersection over the sum of sizes; two empty masks give 1.

    Raises:
        InputError: the shapes differ.
    """
    a, b = np.asarray(a) > 0, np.asarray(b) > 0
    if a.shape != b.shape:
        raise InputError(f"shapes differ: {a.shape} and {b.shape}; resample the masks onto one grid first")
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def bone_dice(ct: np.ndarray, sct: np.ndarray, mask: np.ndarray, threshold: float = BONE) -> float:
    """Dice of bone, taken as what is above `threshold` HU inside the mask. Not part of SynthRAD's own image metrics.

    Raises:
        InputError: as for `mae`.
    """
    real, fake = _both_inside(ct, sct, _checked(mask, ct=ct, sct=sct))
    return dice(real > threshold, fake > threshold)


def evaluate(ct: np.ndarray, sct: np.ndarray, mask: np.ndarray, definition: str = "synthrad2023") -> dict[str, float]:
    """All metrics of one case, by name and unit: `mae_hu`, `psnr_db`, `ssim`, `bone_dice`.

    Print `DEFINITIONS[definition]` beside them: a PSNR without its range cannot be compared.

    Raises:
        InputError: as for `ssim`.
    """
    chosen = definition_named(definition)
    mask = _checked(mask, ct=ct, sct=sct)
    similarity = _ssim(ct, sct, mask, chosen)  # before its memory is needed for the others
    real, fake = _both_inside(ct, sct, mask)
    return {
        "mae_hu": _mae(real, fake),
        "psnr_db": _psnr(real, fake, chosen),
        "ssim": similarity,
        "bone_dice": dice(real > BONE, fake > BONE),
    }


def baselines(mr: np.ndarray, ct: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Simple synthetic CTs to compare a network with: float32 volumes in HU, -1000 outside the mask.

    - `water`: 0 HU everywhere.
    - `MR rescaled`: the MR over its 99.5th percentile inside the mask, clipped to [0, 1], shown as [-1000, 1500] HU.
    - `best constant`: the median of the CT, the constant with the least mean absolute error.
    - `best line`: HU as a straight line in MR intensity, by least squares. Least squares is not least absolute error,
      so the best constant may have the lower MAE.
    - `best lookup`: HU looked up from MR intensity, the median HU in each of 256 bins that hold equally many voxels.

    The three called best are fitted to this very CT, so they are not methods: `best lookup` is about as far as
    intensity alone can go, and what beats it has used shape and place.

    Raises:
        InputError: as for `mae`, or the MR is not positive inside the mask.
    """
    mask = _checked(mask, mr=mr, ct=ct)
    signal, hu = _both_inside(mr, ct, mask)
    top = np.percentile(signal, 99.5)
    if top <= 0:
        raise InputError("the MR is 0 or less nearly everywhere inside the mask: check that it is an MR and fits it")

    # The slope is covariance over variance; a flat MR (variance 0) has the slope 0.
    offset = signal - signal.mean()
    slope = (offset @ hu) / max(offset @ offset, np.finfo(float).tiny)

    edges = np.quantile(signal, np.linspace(0, 1, 257)[1:-1])
    # Many voxels of one intensity can leave bins empty; unique numbers those that are not.
    filled, bins = np.unique(np.digitize(signal, edges), return_inverse=True)
    table = np.asarray(ndimage.median(hu, bins, np.arange(len(filled))))

    inside = {
        "water": 0.0,
        "MR rescaled": np.clip(signal / top, 0, 1) * 2500 - 1000,
        "best constant": np.median(hu),
        "best line": hu.mean() + slope * offset,
        "best lookup": table[bins],
    }
    volumes = {name: np.full(mask.shape, AIR, np.float32) for name in inside}
    for name, values in inside.items():
        volumes[name][mask] = values
    return volumes
