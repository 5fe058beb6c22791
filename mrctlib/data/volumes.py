"""NIfTI volumes: read into RAS and mm, write back on the file's own grid, resample, mask, scale for training.

Axes are (R, A, S) everywhere: the first index grows towards the patient's right, the second towards the front, the
third towards the head. Only `write_volume` knows how the file's own axes run.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel import imageglobals
from nibabel.openers import ImageOpener
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy import ndimage
from skimage.filters import threshold_otsu

from mrctlib.runtime import InputError, whole_file

HU_RANGE = (-1000.0, 1500.0)  # air to dense bone: what a network sees of a CT
HU_CENTRE = (HU_RANGE[1] + HU_RANGE[0]) / 2  # 250 HU
HU_HALF_WIDTH = (HU_RANGE[1] - HU_RANGE[0]) / 2  # 1250 HU
BODY_ABOVE_HU = -400.0  # between air (-1000) and fat (-100): fat must stay in

GRID_TOLERANCE_MM = 1e-3
PLAUSIBLE_SPACING_MM = (1e-3, 1e3)
MOST_VOXELS = 2**30  # 1024 cubed, 4 GB in float32: a header that claims more is damaged


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image that knows where it is.

    Attributes:
        data: float32, shape (R, A, S).
        affine: float64, shape (4, 4), from voxel index to mm in RAS+.
        axes: how the axes run in the file that this was read from and will be written to, e.g. "LAS".

    Raises:
        InputError: `data` is not 3-D.
    """

    data: np.ndarray
    affine: np.ndarray
    axes: str = "RAS"

    def __post_init__(self) -> None:
        # A negative stride, which reorienting leaves behind, is something torch refuses: hence contiguous.
        object.__setattr__(self, "data", np.ascontiguousarray(self.data, np.float32))
        object.__setattr__(self, "affine", np.array(self.affine, np.float64))
        if self.data.ndim != 3:
            raise InputError(f"a volume has 3 axes, not the {self.data.ndim} of shape {self.data.shape}")

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along R, A and S."""
        return tuple(float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))

    def like(self, data: np.ndarray) -> Volume:
        """The same grid with other voxels, shape (R, A, S).

        Raises:
            InputError: `data` has another shape.
        """
        if np.shape(data) != self.data.shape:
            raise InputError(f"voxels of shape {np.shape(data)} do not fit a grid of shape {self.data.shape}")
        return replace(self, data=data)


# ---------------------------------------------------------------------------------------------- reading and writing


def read_volume(path: str | Path) -> Volume:
    """Read a 3-D NIfTI file (.nii, .nii.gz or an .hdr/.img pair; any orientation, scaling, byte order, number type).

    Raises:
        InputError: the file is missing, damaged, not NIfTI, not one 3-D image of finite real numbers, or its header
            does not say where the voxels are.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise InputError(f"{path}: is a folder; name one NIfTI file in it")
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; check the name")
    try:
        with _quiet():
            return _read(path)
    except InputError:
        raise
    except Exception as error:  # damaged bytes reach nibabel, gzip, zlib and numpy, and each raises its own kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: could not be read as NIfTI ({reason}); download or export it again") from error


def _read(path: Path) -> Volume:
    """`read_volume` of a file that exists; whatever nibabel raises comes through."""
    image = nib.load(path, mmap=False)
    if not isinstance(image, nib.Nifti1Pair):  # the base of NIfTI-1 and NIfTI-2, single files and pairs
        kind = type(image).__name__
        raise InputError(f"{path}: holds another format than NIfTI ({kind}); convert it to .nii.gz")
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise InputError(f"{path}: holds an image of shape {shape}, not a 3-D volume; save one 3-D volume a file")
    if min(shape) < 1 or math.prod(shape) > MOST_VOXELS:
        raise InputError(f"{path}: the header claims a shape of {shape}; download or export the file again")
    if dtype.kind not in "iuf":
        kind = image.header.get_value_label("datatype")
        raise InputError(f"{path}: voxels are of type {kind}, not real numbers; save one number a voxel")
    _check_affine(path, image.affine)

    # Counted before anything is allocated, so that a damaged header cannot ask for more memory than the file fills.
    # Reading to the end also makes gzip compare its checksum, which nibabel never gets to.
    stored = _uncompressed_bytes(image.file_map["image"].filename or path)
    claimed = image.dataobj.offset + math.prod(shape) * dtype.itemsize
    if stored < claimed:
        raise InputError(f"{path}: ends after {stored} of {claimed} bytes; download or export it again")

    native = image.get_fdata(dtype=np.float32, caching="unchanged")
    if not np.isfinite(native).all():
        raise InputError(f"{path}: holds NaN or infinite values; replace them, e.g. with air or 0, and save it again")
    axes = "".join(nib.aff2axcodes(image.affine))
    canonical = nib.as_closest_canonical(nib.Nifti1Image(native.reshape(shape[:3]), image.affine))
    return Volume(canonical.get_fdata(dtype=np.float32), canonical.affine, axes)


def _check_affine(path: Path, affine: np.ndarray) -> None:
    """Raise an InputError unless `affine` (4, 4) gives each voxel a place of its own and a plausible size."""
    least, most = PLAUSIBLE_SPACING_MM
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    # Not one comparison holds for NaN, so the checks ask for what is right. The determinant over the sizes is 1 for
    # axes at right angles and 0 for axes in one plane.
    plausible = np.isfinite(affine).all() and (sizes > least).all() and (sizes < most).all()
    if not plausible or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        listed = " x ".join(f"{size:.3g}" for size in sizes)
        raise InputError(
            f"{path}: the affine is no grid in space (voxels {listed} mm); correct the header's sform or qform"
        )


def _uncompressed_bytes(path: str | Path) -> int:
    """How many bytes a file holds once decompressed, read through to the end in little pieces."""
    total = 0
    with ImageOpener(os.fspath(path)) as file:
        while piece := file.read(2**20):
            total += len(piece)
    return total


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep nibabel and numpy from printing what they think of a header: `read_volume` says it in its one line."""
    level = imageglobals.logger.level
    imageglobals.logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        imageglobals.logger.setLevel(level)


def write_volume(volume: Volume, path: str | Path, *, force: bool = False) -> None:
    """Write float32 NIfTI along the file's own axes (`volume.axes`); the same volume gives the same bytes.

    Raises:
        InputError: `path` does not end in .nii or .nii.gz, exists and `force` is false, or the disk refused the bytes.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: volumes are written as NIfTI; let the name end in .nii or .nii.gz")
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(volume.axes))
    affine = volume.affine @ inv_ornt_aff(turn, volume.data.shape)
    image = nib.Nifti1Image(apply_orientation(volume.data, turn), affine)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=6, mtime=0)  # no time stamp, so the same bytes each time
    with whole_file(path, force=force) as part:
        part.write_bytes(content)


# ------------------------------------------------------------------------------------------------------------ grids


def resample(volume: Volume, spacing: float | tuple[float, float, float], order: int = 1) -> Volume:
    """The same field of view in voxels of `spacing` mm (along R, A, S; one number for all three).

    The outer edge of the first voxel stays where it was. Where the new size does not divide the field of view, the
    last voxel reaches past its far edge. `order` is that of the spline: 0 for masks, 1 linear, 3 cubic.

    Raises:
        InputError: `spacing` is not positive, or so fine that the result has over 2^30 voxels.
    """
    wanted = np.broadcast_to(np.asarray(spacing, np.float64), 3)
    if not (np.isfinite(wanted).all() and (wanted > 0).all()):
        raise InputError(f"spacing is {spacing}: give a positive size in mm, or three")
    ratio = wanted / volume.spacing
    if np.allclose(ratio, 1, rtol=0, atol=1e-5):  # as exact as a header in float32
        return volume
    # The small allowance keeps 100 voxels of 0.1 mm at 10 of 1 mm, whatever the last bit of 0.1 says.
    shape = np.maximum(1, np.ceil(np.array(volume.data.shape) / ratio - 1e-3))
    if math.prod(shape) > MOST_VOXELS:
        raise InputError(f"spacing is {spacing} mm: that makes {math.prod(shape):.1e} voxels; give a coarser one")
    # Index i is the middle of a voxel, (i + 1/2) voxels from the edge: (new + 1/2) * ratio = old + 1/2.
    to_old = np.diag([*ratio, 1.0])
    to_old[:3, 3] = (ratio - 1) / 2
    data = _interpolate(volume.data, to_old, tuple(int(n) for n in shape), order)
    return Volume(data, volume.affine @ to_old, volume.axes)


def resample_like(volume: Volume, target: Volume, *, fill: float, order: int = 1) -> Volume:
    """`volume` on the grid of `target` (its affine, shape and file axes); `fill` where `volume` saw nothing."""
    if _grid_distance(volume, target) <= GRID_TOLERANCE_MM:
        return target.like(volume.data)
    to_old = np.linalg.inv(volume.affine) @ target.affine
    data = _interpolate(volume.data, to_old, target.data.shape, order)
    grid = np.ogrid[tuple(slice(n) for n in target.data.shape)]
    for row, size in zip(to_old[:3], volume.data.shape, strict=True):
        index = row[0] * grid[0] + row[1] * grid[1] + row[2] * grid[2] + row[3]
        data[(index < -0.5 - 1e-3) | (index > size - 0.5 + 1e-3)] = fill
    return target.like(data)


def _interpolate(data: np.ndarray, to_old: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """`data` (R, A, S) at the indices `to_old` (4, 4) @ new index, as an array of `shape`; edge values go on outside.

    Where voxels grow, a Gaussian first takes out what the new grid cannot hold (the width is that of scikit-image's
    `resize`); without it fine texture would come back as false pattern. Masks (order 0) are left sharp.
    """
    step = np.linalg.norm(to_old[:3, :3], axis=1)  # old voxels from one new voxel to the next
    sigma = np.maximum(0, (step - 1) / 2)
    if order > 0 and (sigma > 1e-3).any():
        data = ndimage.gaussian_filter(data, sigma, mode="nearest")
    matrix, offset = to_old[:3, :3], to_old[:3, 3]
    if np.array_equal(matrix, np.diag(np.diag(matrix))):
        matrix = np.diag(matrix)  # scipy is several times quicker when told that the axes do not mix
    return ndimage.affine_transform(data, matrix, offset, shape, np.float32, order, mode="nearest")


def _grid_distance(a: Volume, b: Volume) -> float:
    """How far, in mm, voxels of the same index lie apart at most; infinite if the shapes differ."""
    if a.data.shape != b.data.shape:
        return math.inf
    last = np.array(a.data.shape) - 1
    corners = np.array([[*(last * corner), 1] for corner in np.ndindex(2, 2, 2)])
    return float(np.linalg.norm(corners @ (a.affine - b.affine).T, axis=1).max())


def check_same_grid(a: Volume, b: Volume, name_a: str, name_b: str) -> None:
    """Raise an InputError unless both volumes have the same shape and lie in the same place, to 0.001 mm."""
    distance = _grid_distance(a, b)
    if distance <= GRID_TOLERANCE_MM:
        return
    if distance == math.inf:
        wrong = f"shape {a.data.shape} against {b.data.shape}"
    else:
        wrong = f"same shape, but up to {distance:.3g} mm apart"
    raise InputError(f"{name_a} and {name_b}: not on the same grid ({wrong}); resample one onto the other")


# ------------------------------------------------------------------------------------------------------------- body


def body_mask(volume: Volume, modality: str) -> np.ndarray:
    """The body in an "mr" or a "ct" (in HU): bool, shape (R, A, S), for cases that come without a mask.

    What is brighter than the background, its largest connected part, with all holes filled in each axial slice, so
    that sinuses and airways belong to the body.

    Raises:
        InputError: `modality` is neither, the MR is constant, or nothing is bright enough.
    """
    if modality == "ct":
        bright = volume.data > BODY_ABOVE_HU
    elif modality == "mr":
        bright = _bright_in_mr(volume.data)
    else:
        raise InputError(f"modality is {modality!r}: it must be 'mr' or 'ct'")
    parts, _ = ndimage.label(bright)
    sizes = np.bincount(parts.ravel())[1:]  # part 0 is the background
    if not sizes.size:
        raise InputError(f"no body found in this {modality.upper()}: is it one, and a CT in HU? Or give a mask file")
    body = parts == 1 + sizes.argmax()
    return np.stack([ndimage.binary_fill_holes(axial) for axial in np.moveaxis(body, 2, 0)], axis=2)


def _bright_in_mr(mr: np.ndarray) -> np.ndarray:
    """Bool, shape (R, A, S): brighter than halfway from the background to Otsu's threshold.

    Halfway, because skull and fluid are nearly as dark as air and Otsu's threshold alone takes the skin off.
    """
    low, high = mr.min(), np.percentile(mr, 99.9)  # a few very bright voxels must not set the scale
    if not high > low:
        raise InputError(f"no body found in this MR: it is {low:g} nearly everywhere; give a mask file or another MR")
    smooth = ndimage.gaussian_filter(np.minimum(mr, high), 0.7)
    threshold = threshold_otsu(smooth)
    background = np.median(smooth[smooth <= threshold])
    return smooth > (background + threshold) / 2


# ------------------------------------------------------------------------------------------------------ intensities


def normalise_ct(hu: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """HU, any shape, clipped to `HU_RANGE` and scaled to [-1, 1]; -1 outside the mask (same shape). float32."""
    scaled = (np.clip(hu, *HU_RANGE) - HU_CENTRE) / HU_HALF_WIDTH
    return np.where(mask, scaled, -1).astype(np.float32)


def denormalise_ct(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """From [-1, 1], any shape, back to HU in `HU_RANGE`; air (-1000 HU) outside the mask (same shape). float32."""
    hu = np.clip(x, -1, 1) * HU_HALF_WIDTH + HU_CENTRE
    return np.where(mask, hu, HU_RANGE[0]).astype(np.float32)


def normalise_mr(mr: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """MR, any shape, from 0 to its 99.5th percentile in the mask, scaled to [-1, 1]; -1 outside the mask. float32.

    Raises:
        InputError: the mask is empty, the MR is constant in it, or that percentile is not positive.
    """
    inside = np.asarray(mr)[np.asarray(mask, bool)]
    if not inside.size:
        raise InputError("the mask is empty: give one that covers the body")
    if inside.min() == inside.max():
        raise InputError(f"the MR is {inside[0]:g} everywhere in the mask: give an MR with some contrast")
    top = np.percentile(inside, 99.5)
    if not top > 0:
        raise InputError(f"the MR's 99.5th percentile in the mask is {top:g}: give an MR with positive intensities")
    scaled = 2 * np.clip(mr / top, 0, 1) - 1
    return np.where(mask, scaled, -1).astype(np.float32)
