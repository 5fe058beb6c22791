"""NIfTI volumes (and MetaImage, to read): into RAS and mm, back on the file's own grid, resample, mask, scale.

Axes are (R, A, S) everywhere: the first index grows towards the patient's right, the second towards the front, the
third towards the head. Only `write_volume` knows how the file's own axes run.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
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
THIN_MM, LONG_MM = 6.0, 100.0  # what is thinner than twice the one and longer than the other is no part of a body

GRID_TOLERANCE_MM = 1e-3
PLAUSIBLE_SPACING_MM = (1e-3, 1e3)
MOST_VOXELS = 2**30  # 1024 cubed, 4 GB in float32: a header that claims more is damaged
MM_IN_UNIT = {1: 1000.0, 3: 0.001}  # the codes of metre and micron in `xyzt_units`; 2 is mm, and 0 is taken for it
SLAB = 16  # axial slices at a time, where all of them would need a second copy of the volume
OTHER_FORMATS = {".mhd": "MetaImage", ".nrrd": "NRRD", ".nhdr": "NRRD", ".dcm": "DICOM"}


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


def other_format(path: str | Path) -> str:
    """What an image (or the first of a folder's) is instead of NIfTI, and what to do; an empty string if it is none."""
    for file in sorted(Path(path).iterdir()) if os.path.isdir(path) else [Path(path)]:
        kind = OTHER_FORMATS.get(file.suffix.lower(), "")
        if not kind and os.path.isfile(file) and os.access(file, os.R_OK):  # DICOM often has no suffix
            with open(file, "rb") as opened:
                kind = "DICOM" if opened.read(132)[128:] == b"DICM" else ""
        if kind:
            tool = "dcm2niix" if kind == "DICOM" else "SimpleITK"
            return f"{file.name} is {kind}, not NIfTI; convert it to .nii.gz with {tool}"
    return ""


def read_volume(path: str | Path) -> Volume:
    """Read a 3-D NIfTI file (.nii, .nii.gz or an .hdr/.img pair; any orientation, scaling, unit, byte order, type).

    With SimpleITK also MetaImage (.mha), as in SynthRAD2025.

    Raises:
        InputError: the file is missing, damaged, of another format, not one 3-D image of finite real numbers, its
            header does not say where the voxels are, or it needs more memory, or SimpleITK, which is not there.
    """
    path = Path(path)
    try:
        os.stat(path)  # raises for a path that is not there, too long, or in a folder that may not be entered
        if not os.access(path, os.R_OK):
            raise PermissionError  # nibabel would call it no image
        if os.path.isdir(path):
            raise InputError(f"{path}: is a folder; {other_format(path) or 'name one NIfTI file in it'}")
        if other := other_format(path):
            raise InputError(f"{path}: {other}")
        with _quiet():
            return _read_mha(path) if path.suffix.lower() == ".mha" else _read(path)
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path}: permission denied; ask its owner for the right to read it") from error
    except MemoryError as error:
        raise InputError(f"{path}: too large for the memory; crop it, or resample it to coarser voxels") from error
    except Exception as error:  # damaged bytes reach nibabel, gzip, zlib and numpy, and each raises its own kind
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file; check the name") from error
        reason = " ".join(str(error).rpartition("ERROR: ")[2].split()) or type(error).__name__
        kind = "MetaImage" if path.suffix.lower() == ".mha" else "NIfTI"
        raise InputError(f"{path}: could not be read as {kind} ({reason}); download or export it again") from error


def _read(path: Path) -> Volume:
    """`read_volume` of a file that exists; whatever nibabel raises comes through."""
    image = nib.load(path)
    if not isinstance(image, nib.Nifti1Pair):  # the base of NIfTI-1 and NIfTI-2, single files and pairs
        raise InputError(f"{path}: holds another format than NIfTI ({type(image).__name__}); convert it to .nii.gz")
    shape, dtype = image.shape, image.get_data_dtype()
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise InputError(f"{path}: holds an image of shape {shape}, not a 3-D volume; save one 3-D volume a file")
    if min(shape) < 1 or math.prod(shape) > MOST_VOXELS:
        raise InputError(f"{path}: the header claims a shape of {shape}; download or export the file again")
    if dtype.kind not in "iuf":
        kind = image.header.get_value_label("datatype")
        raise InputError(f"{path}: voxels are of type {kind}, not real numbers; save one number a voxel")
    affine = np.diag([MM_IN_UNIT.get(int(image.header["xyzt_units"]) & 7, 1.0)] * 3 + [1.0]) @ image.affine
    proxy = image.dataobj
    claimed = proxy.offset + math.prod(shape) * dtype.itemsize
    content = _content(image.file_map["image"].filename or path, claimed)
    if len(content) < claimed:
        raise InputError(f"{path}: ends after {len(content)} of {claimed} bytes; download or export it again")
    native = np.ndarray(shape[:3], dtype, content, proxy.offset, order="F")
    return _in_ras(path, native, affine, proxy.slope, proxy.inter)


def _read_mha(path: Path) -> Volume:
    """`read_volume` of a MetaImage; whatever SimpleITK raises comes through."""
    try:
        import SimpleITK
    except ImportError as error:
        raise InputError(f"{path}: takes SimpleITK; pip install 'mrctlib[mha]', or convert it to .nii.gz") from error
    image = SimpleITK.ReadImage(os.fspath(path))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path}: holds no 3-D volume of one number a voxel; save one 3-D volume a file")
    # In ITK's world x grows towards the left and y towards the back; its arrays are (z, y, x).
    steps = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ nib.affines.from_matvec(steps, image.GetOrigin())
    return _in_ras(path, SimpleITK.GetArrayViewFromImage(image).T, affine)


def _in_ras(path: Path, native: np.ndarray, affine: np.ndarray, slope: float = 1, inter: float = 0) -> Volume:
    """The volume of a file's voxels (3-D, as its own axes run): slope * voxel + inter, turned into RAS."""
    _check_affine(path, affine)
    turn = nib.io_orientation(affine)
    turned = apply_orientation(native, turn)  # the same bytes in another order
    data = np.empty(turned.shape, np.float32)
    for part in (slice(r, r + SLAB) for r in range(0, len(data), SLAB)):  # in float64, but never all of it
        data[part] = turned[part] if (slope, inter) == (1, 0) else turned[part] * slope + inter
        if not np.isfinite(data[part]).all():
            raise InputError(f"{path}: holds NaN or infinite values; replace them, e.g. with air or 0, and save again")
    return Volume(data, affine @ inv_ornt_aff(turn, native.shape), "".join(nib.aff2axcodes(affine)))


def _check_affine(path: Path, affine: np.ndarray) -> None:
    """Raise an InputError unless `affine` (4, 4) gives each voxel a place of its own and a plausible size."""
    least, most = PLAUSIBLE_SPACING_MM
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    # Not one comparison holds for NaN, so the checks ask for what is right. The determinant over the sizes is 1 for
    # axes at right angles and 0 for axes in one plane.
    plausible = np.isfinite(affine).all() and (sizes > least).all() and (sizes < most).all()
    if not plausible or abs(np.linalg.det(affine[:3, :3] / sizes)) < 1e-3:
        listed = " x ".join(f"{size:.3g}" for size in sizes)
        raise InputError(f"{path}: the affine is no grid in space (voxels {listed} mm); correct the header or its unit")


def _content(path: str | Path, most: int) -> bytearray:
    """The first `most` bytes of a file once decompressed, which is read to its end: only there is gzip's checksum.

    Nothing is allocated before it is read, so that a damaged header cannot ask for more memory than the file fills.
    """
    content = bytearray()
    with ImageOpener(os.fspath(path)) as file:
        while piece := file.read(2**20):
            content += piece[: most - len(content)]
    return content


_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep nibabel and numpy from printing what they think of a header: `read_volume` says it in its one line."""
    with _ONE_AT_A_TIME:  # what is set here holds for all threads
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
    # No name and no time stamp inside, so the same bytes each time.
    zipped = partial(gzip.GzipFile, "", "wb", 6, mtime=0) if path.suffix == ".gz" else nullcontext
    with whole_file(path, force=force) as part, open(part, "wb") as file, zipped(file) as stream:
        image.to_stream(stream)


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
    a, s = np.ogrid[: target.data.shape[1], : target.data.shape[2]]
    for r, slab in enumerate(data):
        for row, size in zip(to_old[:3], volume.data.shape, strict=True):
            index = row[0] * r + row[1] * a + row[2] * s + row[3]
            slab[(index < -0.5 - 1e-3) | (index > size - 0.5 + 1e-3)] = fill
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
    shapes = f"shape {a.data.shape} against {b.data.shape}"
    wrong = shapes if distance == math.inf else f"same shape, but up to {distance:.3g} mm apart"
    raise InputError(f"{name_a} and {name_b}: not on the same grid ({wrong}); resample one onto the other")


# ------------------------------------------------------------------------------------------------------------- body


def body_mask(volume: Volume, modality: str) -> np.ndarray:
    """The body in an "mr" or a "ct" (in HU): bool, shape (R, A, S), for cases that come without a mask.

    What is brighter than the background, its largest connected part, in a CT without what is thin and long (a head
    holder, a table), with all holes filled in each axial slice, so that sinuses and airways belong to the body.

    Raises:
        InputError: `modality` is neither, the MR is constant, or nothing is bright enough.
    """
    if modality == "ct":
        bright = volume.data > BODY_ABOVE_HU
    elif modality == "mr":
        bright = _filled(_bright_in_mr(volume))  # already here, since the dark skull parts the skin from the brain
    else:
        raise InputError(f"modality is {modality!r}: it must be 'mr' or 'ct'")
    if not bright.any():
        raise InputError(f"no body found in this {modality.upper()}: is it one, and a CT in HU? Or give a mask file")
    bright &= _around_largest(bright, volume.spacing, thick=modality == "ct")
    return _filled(bright) if modality == "ct" else bright


def _bright_in_mr(mr: Volume) -> np.ndarray:
    """Bool, shape (R, A, S): brighter than halfway from the background to Otsu's threshold.

    Halfway, because skull and fluid are nearly as dark as air and Otsu's threshold alone takes the skin off.
    """
    few = _every_2_mm(mr.spacing)
    low, high = mr.data.min(), np.percentile(mr.data[few], 99.9)  # a few very bright voxels must not set the scale
    if not high > low:
        raise InputError(f"no body found in this MR: it is {low:g} nearly everywhere; give a mask file or another MR")
    tissue = mr.data[few][mr.data[few] != mr.data[0, 0, 0]]
    if np.percentile(tissue, 5) < mr.data[0, 0, 0] and tissue.size < 0.9 * mr.data[few].size:
        return mr.data != mr.data[0, 0, 0]  # cut out and scaled to a mean of 0: the background is grey, and flat
    smooth = np.minimum(mr.data, high)
    ndimage.gaussian_filter(smooth, 0.7, output=smooth)
    values = smooth[few].ravel()
    threshold = threshold_otsu(values)
    background = np.median(values[values <= threshold])
    return smooth > (background + threshold) / 2


def _every_2_mm(spacing: Iterable[float]) -> tuple[slice, ...]:
    """Which voxels of a fine grid to look at: all of 2 mm and more, every second of 1 mm."""
    return tuple(slice(None, None, max(1, int(2 / size))) for size in spacing)


def _around_largest(bright: np.ndarray, spacing: tuple[float, float, float], *, thick: bool) -> np.ndarray:
    """Where the largest part of `bright` (R, A, S) lies, and about a voxel (of 2 mm or more) around it: bool.

    thick: without what hangs on it that is thin and long; ears are short. Where the picture ends the body goes on.
    """
    few = _every_2_mm(spacing)
    coarse, size = bright[few], [mm * part.step for mm, part in zip(spacing, few, strict=True)]
    if thick and not coarse.all():
        depth = ndimage.distance_transform_edt(coarse, size)
        thin = min(THIN_MM, depth.max() / 2)  # in a mouse, less is thin
        near = ndimage.distance_transform_edt(~_largest(depth > thin), size) <= thin + max(size)
        pieces, _ = ndimage.label(coarse & ~near)
        for number, box in enumerate(ndimage.find_objects(pieces), 1):
            if max((side.stop - side.start) * mm for side, mm in zip(box, size, strict=True)) <= LONG_MM:
                near[box] |= pieces[box] == number
        coarse = coarse & near
    near = ndimage.binary_dilation(_largest(coarse), np.ones((3, 3, 3)))
    for axis, part in enumerate(few):
        near = near.repeat(part.step, axis).take(range(bright.shape[axis]), axis)
    return near


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask."""
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel(), minlength=2)
    return parts == 1 + sizes[1:].argmax()  # part 0 is the background


def _filled(body: np.ndarray) -> np.ndarray:
    """The body (R, A, S) with all holes filled in each axial slice, also those that the picture's edge cuts open."""
    filled = body.copy()
    for axial in np.moveaxis(filled, 2, 0):
        for edge in (axial[0], axial[-1], axial[:, 0], axial[:, -1]):
            if edge.any():  # a body that leaves the picture here goes on between the first and the last of it
                edge[edge.argmax() : edge.size - edge[::-1].argmax()] = True
        axial[:] = ndimage.binary_fill_holes(axial)
    return filled


# ------------------------------------------------------------------------------------------------------ intensities


def normalise_ct(hu: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """HU, any shape, clipped to `HU_RANGE` and scaled to [-1, 1]; -1 outside the mask (same shape). float32."""
    return _within(mask, (np.clip(hu, *HU_RANGE) - HU_CENTRE) / HU_HALF_WIDTH, -1)


def denormalise_ct(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """From [-1, 1], any shape, back to HU in `HU_RANGE`; air (-1000 HU) outside the mask (same shape). float32."""
    hu = np.clip(np.asarray(x, np.float32), -1, 1) * HU_HALF_WIDTH + HU_CENTRE
    return _within(mask, hu, HU_RANGE[0])


def _within(mask: np.ndarray, image: np.ndarray, outside: float) -> np.ndarray:
    image = np.asarray(image, np.float32)  # a fresh one, so it may be written to: a copy less
    image[np.logical_not(mask)] = outside
    return image


def check_hu(ct: np.ndarray, body: np.ndarray, name: str) -> None:
    """Raise an InputError unless the CT `name` (R, A, S) is in HU, as air outside the body (bool) tells, or its fat.

    Of the air the darkest tenth counts, as there may be a table, but not one far darker value that is only padding.
    """
    outside, solid = ct[~body & (ct > min(-1500, ct.min() + 1))], ct[body & (ct > BODY_ABOVE_HU)]
    fat, middle = np.percentile(ct, (1, 50))
    air = np.percentile(outside, 10) if outside.size > ct.size / 1000 else fat
    tissue, bone = np.median(solid) if solid.size else HU_RANGE[0], (ct > 600).mean()
    no_air = fat > BODY_ABOVE_HU and abs(middle) < 300 and ct.std() > 5  # all of the picture lies in the body
    if no_air and bone < 0.15 and (bone < 0.02 or fat < -50):
        return
    if abs(air - HU_RANGE[0]) > 200 or abs(tissue) > 300:
        wrong = f"air is {air:.4g} in place of -1000, or tissue {tissue:.4g} in place of 40"
        raise InputError(f"{name}: this CT is not in HU ({wrong}); subtract the offset, often 1024, or export it in HU")


def normalise_mr(mr: np.ndarray, mask: np.ndarray, name: str | None = "this MR") -> np.ndarray:
    """MR, any shape, with its `mr_range` scaled to [-1, 1]; -1 outside the mask (same shape). float32."""
    return scaled_mr(mr, mask, *mr_range(mr, mask, name))


def scaled_mr(mr: np.ndarray, mask: np.ndarray, low: float, top: float) -> np.ndarray:
    """MR, any shape, from `low` to `top` scaled to [-1, 1]; -1 outside the mask (same shape). float32."""
    scaled = np.clip(mr, low, top)  # and all else is done in place: 512 cubed is 0.5 GB
    scaled -= low
    scaled /= top - low
    scaled *= 2
    scaled -= 1
    return _within(mask, scaled, -1)


def mr_range(mr: np.ndarray, mask: np.ndarray, name: str | None = "this MR") -> tuple[float, float]:
    """What of an MR, any shape, is shown: from 0 to its 99.5th percentile in the mask (same shape).

    With negative values that matter (a mean of 0), from its 0.5th percentile, which is said on stderr, of `name`.

    Raises:
        InputError: the mask is empty, the MR is constant in it, or that percentile is not positive.
    """
    inside = np.asarray(mr)[np.asarray(mask, bool)]
    if not inside.size:
        raise InputError("the mask is empty: give one that covers the body")
    if inside.min() == inside.max():
        raise InputError(f"the MR is {inside[0]:g} everywhere in the mask: give an MR with some contrast")
    low, top = (np.percentile(inside, share, overwrite_input=True) for share in (0.5, 99.5))
    if not top > 0:
        raise InputError(f"the MR's 99.5th percentile in the mask is {top:g}: give an MR with positive intensities")
    if low >= -0.05 * top:
        return 0, top  # a filter leaves a few negative values behind, which mean nothing
    if name:
        print(f"{name}: has negative values; it is scaled from {low:.3g} to {top:.3g}, not from 0", file=sys.stderr)
    return low, top


def axial_slabs(image: Volume, body: np.ndarray) -> Iterator[tuple[slice, Volume, Volume]]:
    """(which axial slices, the image there, its body there), a few at a time. Sizes in mm are right, places are not."""
    grid = np.diag([*image.spacing, 1.0])
    for part in (slice(s, s + SLAB) for s in range(0, body.shape[2], SLAB)):
        yield part, Volume(image.data[..., part], grid), Volume(body[..., part], grid)
