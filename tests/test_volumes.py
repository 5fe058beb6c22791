"""NIfTI in and out: orientation, geometry, damaged files, intensities."""

import errno
import gzip
import itertools
import logging
import os
import re
import shutil
import sys
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrctlib.data.volumes import (
    Volume,
    body_mask,
    check_hu,
    check_same_grid,
    denormalise_ct,
    normalise_ct,
    normalise_mr,
    read_volume,
    resample,
    resample_like,
    write_volume,
)
from mrctlib.phantom.head import draw_patient
from mrctlib.runtime import InputError

AXES = ["".join(a) for order in itertools.permutations(["LR", "PA", "IS"]) for a in itertools.product(*order)]
OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.1, 0.15) @ np.diag([1.0, 1.5, 2.5]), [-9, 4, 70])


def positions(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """mm coordinates of every voxel, shape (3, *shape)."""
    return nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1)).transpose(3, 0, 1, 2)


def ramp(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """A straight line in mm, different in each direction: what linear interpolation must give back exactly."""
    x, y, z = positions(shape, affine)
    return x + 10 * y + 100 * z


def waves(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """A smooth function of mm, with wavelengths of 60 mm and more."""
    x, y, z = positions(shape, affine)
    return 100 * np.sin(2 * np.pi * x / 60) * np.cos(2 * np.pi * y / 80) + 50 * np.sin(2 * np.pi * z / 70)


def save(path: Path, data: np.ndarray, affine: np.ndarray = OBLIQUE) -> Path:
    """Write with nibabel alone."""
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def refused(path: Path) -> str:
    """The message of the InputError for `path`: one line that names it."""
    with pytest.raises(InputError) as caught:
        read_volume(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


# ---------------------------------------------------------------------------------------------- reading and writing


@pytest.mark.parametrize("axes", AXES)
def test_every_orientation_is_read_into_ras_and_written_back(axes, tmp_path):
    assert len(set(AXES)) == 48
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(axes))
    )
    native = nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), OBLIQUE).as_reoriented(turn)
    path = save(tmp_path / "a.nii", ramp(native.shape, native.affine).astype(np.float32), native.affine)

    volume = read_volume(path)
    assert volume.axes == axes
    assert volume.data.dtype == np.float32 and volume.data.flags.c_contiguous
    assert volume.data.shape == (3, 4, 5)
    assert volume.spacing == pytest.approx((1.0, 1.5, 2.5), abs=1e-5)
    np.testing.assert_allclose(volume.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(volume.data, ramp(volume.data.shape, volume.affine), rtol=1e-5)

    write_volume(volume, tmp_path / "b.nii.gz")
    before, after = nib.load(path), nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
    assert after.get_data_dtype() == np.float32
    assert after.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img", "a.NII.GZ"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_number_types_byte_orders_and_containers(dtype, name, order, tmp_path):
    data = np.arange(60).reshape(3, 4, 5).astype(dtype)
    kind = nib.Nifti1Pair if name.endswith(".img") else nib.Nifti1Image
    image = kind(data, OBLIQUE, kind.header_class(endianness=order), dtype=np.dtype(dtype))
    nib.save(image, tmp_path / name)
    np.testing.assert_array_equal(read_volume(tmp_path / name).data, data)
    if name == "a.img":
        np.testing.assert_array_equal(read_volume(tmp_path / "a.hdr").data, data)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_scaling_is_applied(kind, tmp_path):
    image = kind(np.arange(24, dtype=np.int16).reshape(2, 3, 4), OBLIQUE)
    image.header.set_slope_inter(0.5, -1024)
    nib.save(image, tmp_path / "a.nii.gz")
    raw = np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj.get_unscaled(), float)
    header = nib.load(tmp_path / "a.nii.gz").dataobj
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").data, raw * header.slope + header.inter, rtol=1e-6)


def test_hand_made_slope_and_intercept(tmp_path):
    raw = bytearray(save(tmp_path / "a.nii", np.full((2, 3, 4), 7, np.int16)).read_bytes())
    raw[112:120] = np.array([0.5, -1024], "<f4").tobytes()  # scl_slope and scl_inter in the standard
    (tmp_path / "b.nii").write_bytes(raw)
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii").data, np.full((2, 3, 4), 0.5 * 7 - 1024))


def test_trailing_axis_of_one_is_a_volume(tmp_path):
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1)
    np.testing.assert_array_equal(read_volume(save(tmp_path / "a.nii.gz", data)).data, data[..., 0])


def test_qform_alone_is_enough(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.float32), None)
    image.set_qform(OBLIQUE, 1)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").affine, OBLIQUE, atol=1e-4)


def test_a_question_of_the_header_is_not_printed(tmp_path, recwarn):
    raw = bytearray(save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32)).read_bytes())
    raw[254:256] = np.array([99], "<i2").tobytes()  # sform_code: nibabel mends it, and says so in its log
    (tmp_path / "b.nii").write_bytes(raw)
    logger, said = logging.getLogger("nibabel.global"), []
    handler = logging.Handler()
    handler.emit = said.append
    level = logger.level
    logger.addHandler(handler)
    try:
        nib.load(tmp_path / "b.nii")
        assert said, "nibabel no longer complains: this test needs another header"
        said.clear()
        read_volume(tmp_path / "b.nii")
    finally:
        logger.removeHandler(handler)
    assert not said and not recwarn.list
    assert logger.level == level


def test_same_volume_same_bytes(tmp_path):
    volume = Volume(np.random.default_rng(0).normal(size=(4, 5, 6)), OBLIQUE, "PIL")
    write_volume(volume, tmp_path / "a.nii.gz")
    write_volume(volume, tmp_path / "b.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    assert content == (tmp_path / "b.nii.gz").read_bytes()
    assert content[4:8] == b"\0\0\0\0"  # gzip's time stamp
    write_volume(read_volume(tmp_path / "a.nii.gz"), tmp_path / "a.nii.gz", force=True)
    assert content == (tmp_path / "a.nii.gz").read_bytes()


@pytest.mark.parametrize("name", ["a.mha", "a", "a.gz", "a.img", "a.nii.bz2"])
def test_other_suffixes_are_not_written(name, tmp_path):
    with pytest.raises(InputError, match=r"\.nii or \.nii\.gz"):
        write_volume(Volume(np.zeros((2, 3, 4)), np.eye(4)), tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_existing_file_is_kept_unless_forced(tmp_path):
    old = save(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32))
    with pytest.raises(InputError, match="exists already"):
        write_volume(Volume(np.ones((2, 3, 4)), np.eye(4)), old)
    assert read_volume(old).data.max() == 0
    write_volume(Volume(np.ones((2, 3, 4)), np.eye(4)), old, force=True)
    assert read_volume(old).data.min() == 1


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_full_disk_leaves_the_old_file_and_no_rest(name, tmp_path, monkeypatch):
    old = save(tmp_path / name, np.zeros((2, 3, 4), np.float32)).read_bytes()

    def half_way(self: nib.Nifti1Image, stream) -> None:
        stream.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(nib.Nifti1Image, "to_stream", half_way)
    with pytest.raises(InputError, match="No space left"):
        write_volume(Volume(np.ones((2, 3, 4)), np.eye(4)), tmp_path / name, force=True)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == old


# ---------------------------------------------------------------------------------------------------- damaged files


def rewrite(path: Path, start: int, new: np.ndarray) -> Path:
    """Overwrite header bytes from `start` on."""
    raw = bytearray(path.read_bytes())
    raw[start : start + new.nbytes] = new.tobytes()
    path.write_bytes(raw)
    return path


def good(folder: Path, name: str = "bad.nii") -> Path:
    return save(folder / name, np.arange(60, dtype=np.int16).reshape(3, 4, 5))


def sform(folder: Path, rows: list[list[float]]) -> Path:
    return rewrite(good(folder), 280, np.array(rows, "<f4"))


def cut(folder: Path, name: str, keep: float) -> Path:
    path = good(folder, name)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw))])
    return path


def flipped_bit(folder: Path) -> Path:
    """Damage that still decompresses: stored uncompressed inside gzip, so that only the checksum tells."""
    path = folder / "bad.nii.gz"
    raw = bytearray(gzip.compress(save(folder / "good.nii", np.ones((9, 9, 9))).read_bytes(), 0))
    raw[-20] ^= 1
    path.write_bytes(raw)
    return path


def of_dtype(folder: Path, dtype) -> Path:
    return save(folder / "bad.nii", np.zeros((2, 3, 4), dtype))


def not_finite(folder: Path, value: float) -> Path:
    data = np.zeros((2, 3, 4))
    data[1, 1, 1] = value
    return save(folder / "bad.nii.gz", data)


def other_format(folder: Path, kind, name: str) -> Path:
    nib.save(kind(np.zeros((2, 3, 4), np.float32), np.eye(4)), folder / name)
    return folder / name


def text(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def lone_header(folder: Path) -> Path:
    nib.save(nib.Nifti1Pair(np.zeros((2, 3, 4), np.float32), OBLIQUE), folder / "bad.img")
    (folder / "bad.img").unlink()
    return folder / "bad.hdr"


def locked(folder: Path) -> Path:
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("root may read every file, and so may anybody on Windows")
    path = good(folder)
    path.chmod(0)
    return path


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
SKEWED = [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
BAD = {
    "missing": (lambda f: f / "bad.nii", "no such file"),
    "name too long": (lambda f: f / ("a" * 300 + ".nii"), "no such file"),
    "folder": (lambda f: f, "is a folder"),
    "locked": (locked, "permission denied"),
    "DICOM": (lambda f: text(f, "IM0001", bytes(128) + b"DICM"), "IM0001 is DICOM, not NIfTI; .* with dcm2niix"),
    "folder of DICOM": (lambda f: text(f, "IM0001", bytes(128) + b"DICM").parent, "is a folder; IM0001 is DICOM"),
    "MetaImage": (lambda f: text(f, "mr.mha", b"ObjectType = Image"), "MetaImage"),
    "MetaImage in two files": (
        lambda f: text(f, "mr.mhd", b"ObjectType = Image"),
        "MetaImage, not NIfTI; .* SimpleITK",
    ),
    "NRRD": (lambda f: text(f, "mr.nrrd", b"NRRD0004"), "NRRD, not NIfTI; .* with SimpleITK"),
    "metres that are mm": (lambda f: rewrite(good(f), 123, np.array([1], "u1")), "1e.03 x .* mm.; correct the header"),
    "empty": (lambda f: text(f, "bad.nii", b""), "Empty file"),
    "text": (lambda f: text(f, "bad.nii", b"not an image " * 100), "could not be read as NIfTI"),
    "text as gzip": (lambda f: text(f, "bad.nii.gz", b"not an image " * 100), "could not be read as NIfTI"),
    "no suffix": (lambda f: shutil.copy(good(f), f / "bad"), "could not be read as NIfTI"),
    "mgh": (lambda f: other_format(f, nib.MGHImage, "bad.mgz"), "another format than NIfTI"),
    "analyze": (lambda f: other_format(f, nib.AnalyzeImage, "bad.img"), "another format than NIfTI"),
    "pair without img": (lone_header, "could not be read"),
    "half a header": (lambda f: cut(f, "bad.nii", 0.4), "could not be read"),
    "half the voxels": (lambda f: cut(f, "bad.nii", 0.9), "ends after 424 of 472 bytes"),
    "truncated gzip": (lambda f: cut(f, "bad.nii.gz", 0.7), "could not be read"),
    "gzip without its end": (lambda f: cut(f, "bad.nii.gz", 0.98), "could not be read"),
    "gzip checksum": (flipped_bit, "CRC"),
    "4-D": (lambda f: save(f / "bad.nii", np.zeros((2, 3, 4, 5), np.float32)), r"\(2, 3, 4, 5\), not a 3-D volume"),
    "2-D": (lambda f: save(f / "bad.nii", np.zeros((2, 3), np.float32)), r"\(2, 3\), not a 3-D volume"),
    "empty dimension": (lambda f: save(f / "bad.nii", np.zeros((2, 0, 3), np.float32)), "claims a shape of"),
    "negative dimension": (lambda f: rewrite(good(f), 42, np.array([-3], "<i2")), "claims a shape of"),
    "NaN": (lambda f: not_finite(f, np.nan), "NaN or infinite"),
    "infinity": (lambda f: not_finite(f, np.inf), "NaN or infinite"),
    "beyond float32": (lambda f: not_finite(f, 1e300), "NaN or infinite"),
    "complex": (lambda f: of_dtype(f, np.complex64), "complex64, not real numbers"),
    "RGB": (lambda f: of_dtype(f, RGB), "RGB, not real numbers"),
    "singular affine": (lambda f: sform(f, SKEWED), "no grid in space"),
    "zero voxel size": (lambda f: sform(f, [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]), "voxels 0 x 1 x 1 mm"),
    "tiny voxels": (lambda f: sform(f, [[1e-9, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]), "voxels 1e-09 x 1 x 1 mm"),
    "NaN affine": (lambda f: sform(f, [[np.nan, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]), "no grid in space"),
    "infinite origin": (lambda f: sform(f, [[1, 0, 0, np.inf], [0, 1, 0, 0], [0, 0, 1, 0]]), "no grid in space"),
    "slope NaN": (lambda f: rewrite(good(f), 112, np.array([1, np.nan], "<f4")), "could not be read"),
}


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_said_in_one_line(make, says, tmp_path):
    assert re.search(says, refused(make(tmp_path)))


@pytest.fixture
def itk():
    return pytest.importorskip("SimpleITK", reason="SimpleITK is not installed, and only it reads .mha")


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "SLP", "PIR"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_metaimage_is_read_as_nifti_is(axes, dtype, itk, tmp_path):
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(axes))
    )
    image = nib.Nifti1Image(np.arange(60).reshape(3, 4, 5).astype(dtype), OBLIQUE).as_reoriented(turn)
    nib.save(image, tmp_path / "a.nii")
    # ITK's own arrays are (z, y, x), and its world is LPS.
    there = itk.GetImageFromArray(np.ascontiguousarray(np.asanyarray(image.dataobj).T))
    to_lps = np.diag([-1, -1, 1]) @ image.affine[:3, :3]
    sizes = np.linalg.norm(to_lps, axis=0)
    there.SetSpacing(sizes.tolist())
    there.SetDirection((to_lps / sizes).ravel().tolist())
    there.SetOrigin((np.diag([-1, -1, 1]) @ image.affine[:3, 3]).tolist())
    itk.WriteImage(there, str(tmp_path / "a.mha"), dtype == "i2")  # one of them compressed
    expected, volume = read_volume(tmp_path / "a.nii"), read_volume(tmp_path / "a.mha")
    np.testing.assert_array_equal(volume.data, expected.data)
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-5)
    assert volume.axes == expected.axes == axes
    write_volume(volume, tmp_path / "b.nii.gz")
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii.gz").affine, image.affine, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda itk, f: itk.WriteImage(itk.Image(4, 5, itk.sitkInt16), f), "no 3-D volume"),
        (lambda itk, f: itk.WriteImage(itk.Image([4, 5, 6], itk.sitkVectorUInt8, 3), f), "no 3-D volume"),
        (lambda itk, f: itk.WriteImage(itk.Image([4, 5, 6], itk.sitkFloat32) * 0 + np.inf, f), "NaN or infinite"),
        (lambda itk, f: Path(f).write_bytes(b"ObjectType = Image"), "could not be read as MetaImage .Unable to"),
    ],
    ids=["2-D", "three numbers a voxel", "infinite", "a line of text"],
)
def test_a_bad_metaimage_is_said_in_one_line(make, says, itk, tmp_path):
    make(itk, str(tmp_path / "bad.mha"))
    assert re.search(says, refused(tmp_path / "bad.mha"))


def test_what_reads_metaimage_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert "pip install 'mrctlib[mha]'" in refused(text(tmp_path, "mr.mha", b"ObjectType = Image"))


@pytest.mark.parametrize("name", ["bad.nii", "bad.nii.gz"])
@pytest.mark.parametrize("shape", [(900, 900, 900), (32767, 32767, 32767)])
def test_a_header_that_claims_too_much_costs_no_memory(name, shape, tmp_path):
    path = rewrite(good(tmp_path, "good.nii"), 42, np.array(shape, "<i2"))
    raw = path.read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    tracemalloc.start()
    try:
        message = refused(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert "ends after" in message or "claims a shape" in message


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1e-3), (2, 1), (3, 1e3), (10, 1)])
def test_the_unit_of_the_header_is_heeded(unit, factor, name, tmp_path):
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.diag([factor, factor, factor, 1]) @ OBLIQUE)
    image.header["xyzt_units"] = unit
    nib.save(image, tmp_path / name)
    np.testing.assert_allclose(read_volume(tmp_path / name).affine, OBLIQUE, rtol=1e-5, atol=1e-5)


def test_permission_denied_is_said_and_too_little_memory(tmp_path, monkeypatch):
    path = good(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda path, mode: False)  # root may read every file
        assert "permission denied" in refused(path)
    monkeypatch.setattr(nib, "load", lambda path: np.empty(2**50))
    assert "too large for the memory" in refused(path)


def test_a_file_is_decompressed_once(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz", np.ones((100, 100, 100), np.int16))
    plain, sizes = gzip._GzipReader.read, []

    def counted(self, size: int = -1) -> bytes:
        content = plain(self, size)
        sizes.append(len(content))
        return content

    monkeypatch.setattr(gzip._GzipReader, "read", counted)
    read_volume(path)
    assert 2_000_352 <= sum(sizes) < 2_100_000  # the voxels once, and the header


def test_a_large_volume_needs_little_more_memory_than_it_has(tmp_path):
    """In copies of the volume in float32, what each step takes beside what it is given."""
    voxels = np.zeros((128, 128, 128), np.int16)
    voxels[15:112, 10:118, 20:] = 300
    voxels[40:60, 40:60, 40:60] = 500
    mr = read_volume(save(tmp_path / "a.nii.gz", voxels, np.diag([0.4, 0.4, 0.4, 1])))
    body, small = voxels > 0, resample(mr, (3.2, 3.2, mr.spacing[2]))
    steps = {
        "read": (lambda: read_volume(tmp_path / "a.nii.gz"), 1.9),
        "find the body": (lambda: body_mask(mr, "mr"), 1.5),
        "scale": (lambda: normalise_mr(mr.data, body), 1.5),
        "and back": (lambda: resample_like(small, mr, fill=-1), 1.3),
        "write": (lambda: write_volume(mr, tmp_path / "b.nii.gz"), 0.3),
    }
    for name, (step, most) in steps.items():
        tracemalloc.start()
        try:
            step()
            assert tracemalloc.get_traced_memory()[1] < most * mr.data.nbytes, name
        finally:
            tracemalloc.stop()


def survives(path: Path) -> bool:
    """Whether `path` gave a Volume; anything but that or a one-line InputError fails the test."""
    try:
        volume = read_volume(path)
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return False
    assert volume.data.ndim == 3 and volume.data.size and np.isfinite(volume.data).all()
    assert np.isfinite(volume.affine).all() and min(volume.spacing) > 0
    return True


def damage(raw: bytes, rng: np.random.Generator, upto: int) -> bytes:
    """1 to 8 of the first `upto` bytes replaced, or the file cut short, or both."""
    raw = bytearray(raw)
    for place in rng.integers(0, upto, rng.integers(1, 9)):
        raw[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
    return bytes(raw[: rng.integers(1, len(raw))] if rng.random() < 0.2 else raw)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "n2.nii"])
def test_damaged_headers_give_a_volume_or_an_input_error(name, tmp_path, recwarn):
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    kind = {"a.hdr": nib.Nifti1Pair, "n2.nii": nib.Nifti2Image}.get(name, nib.Nifti1Image)
    nib.save(kind(data, OBLIQUE), tmp_path / name)
    raw = (tmp_path / name).read_bytes()
    raw = gzip.decompress(raw) if name.endswith("gz") else raw
    rng = np.random.default_rng(len(name))
    whole = 0
    for _ in range(250):
        # The bytes that say most, dim to srow, are hit as often as all the rest of the header.
        broken = damage(raw, rng, upto=min(len(raw), 348 if rng.random() < 0.5 else 120))
        (tmp_path / name).write_bytes(gzip.compress(broken, 1) if name.endswith("gz") else broken)
        whole += survives(tmp_path / name)
    assert 0 < whole < 250
    assert not recwarn.list


def test_damaged_gzip_gives_a_volume_or_an_input_error(tmp_path):
    raw = good(tmp_path, "a.nii.gz").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(200):
        (tmp_path / "a.nii.gz").write_bytes(damage(raw, rng, upto=len(raw)))
        survives(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.mgz", "a.gii", "a.mnc", "a.nii.bz2", "a.PAR"])
def test_noise_is_no_image(name, tmp_path):
    rng = np.random.default_rng(2)
    for size in (1, 10, 348, 1000):
        (tmp_path / name).write_bytes(rng.bytes(size))
        assert not survives(tmp_path / name)


# ------------------------------------------------------------------------------------------------------------ grids


def on_grid(function, shape: tuple[int, ...] = (20, 24, 16), affine: np.ndarray = OBLIQUE, axes: str = "RAS") -> Volume:
    return Volume(function(shape, affine), affine, axes)


@pytest.mark.parametrize("spacing", [0.7, 3.0, (2.0, 1.5, 5.0), (0.5, 3.0, 2.5)])
def test_resampling_keeps_everything_where_it_is(spacing):
    """A straight line in mm stays that line, half-voxel shift included; only the outermost voxels feel the edge."""
    new = resample(on_grid(ramp, axes="LIP"), spacing)
    assert new.spacing == pytest.approx(tuple(np.broadcast_to(spacing, 3)))
    assert new.axes == "LIP"
    error = np.abs(new.data - ramp(new.data.shape, new.affine))
    inner = tuple(slice(n // 4, -(n // 4)) for n in new.data.shape)
    assert error[inner].max() < 0.02


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.tuples(*[st.floats(0.3, 4)] * 3),
    st.tuples(*[st.floats(0.3, 4)] * 3),
)
def test_resampling_covers_the_field_of_view_from_the_same_corner(shape, old, spacing):
    volume = Volume(np.ones(shape), nib.affines.from_matvec(np.diag(old), [5, -6, 7]))
    new = resample(volume, spacing)
    corner = [-0.5, -0.5, -0.5]
    np.testing.assert_allclose(
        nib.affines.apply_affine(new.affine, corner), nib.affines.apply_affine(volume.affine, corner), atol=1e-4
    )
    short = np.array(shape) * volume.spacing - np.array(new.data.shape) * new.spacing
    assert (short < 2e-3 * np.array(new.spacing)).all(), "covers it"
    assert (short > -np.array(new.spacing)).all(), "with less than a voxel to spare"
    np.testing.assert_allclose(new.data, 1, rtol=1e-5)


@pytest.mark.parametrize(("order", "coarse", "fine"), [(1, 1.5, 0.5), (3, 0.4, 0.1)])
def test_there_and_back_on_a_smooth_image(order, coarse, fine):
    """Of a range of 300; at the very edge what is past the last voxel can only be guessed."""
    volume = on_grid(waves, (60, 60, 60), np.eye(4), "LAS")
    for spacing, worst, at_edge in ((2.0, coarse, 10), (0.5, fine, 3)):
        back = resample_like(resample(volume, spacing, order), volume, fill=-1000, order=order)
        assert back.axes == "LAS" and back.data.shape == volume.data.shape
        error = np.abs(back.data - volume.data)
        assert error[4:-4, 4:-4, 4:-4].max() < worst
        assert error.max() < at_edge, "no fill came in"


def test_resampling_a_mask_gives_a_mask():
    ball = on_grid(lambda shape, affine: np.linalg.norm(positions(shape, affine), axis=0) < 8, (40, 40, 40), np.eye(4))
    for spacing in (0.6, 3.0):
        new = resample(ball, spacing, order=0)
        assert set(np.unique(new.data)) == {0, 1}
        assert new.data.sum() * spacing**3 == pytest.approx(ball.data.sum(), rel=0.2)


def test_coarser_voxels_do_not_alias():
    """Stripes one voxel wide come out grey, where plain picking would bring back stripes."""
    stripes = Volume(np.indices((64, 16, 16))[0] % 2, np.eye(4))
    assert np.abs(resample(stripes, (4.1, 1, 1)).data[3:-3] - 0.5).max() < 0.15
    assert resample(stripes, (4.1, 1, 1), order=0).data.std() > 0.4


def test_nothing_is_done_on_the_grid_it_is_on():
    volume = on_grid(waves)
    assert resample(volume, volume.spacing) is volume
    target = on_grid(ramp, axes="LPS")
    same = resample_like(volume, target, fill=0)
    np.testing.assert_array_equal(same.data, volume.data)
    assert same.axes == "LPS"


@pytest.mark.parametrize("order", [1, 3])
def test_onto_an_oblique_grid(order):
    volume = on_grid(waves, (60, 50, 40), nib.affines.from_matvec(np.diag([1.0, 1.2, 1.5]), [-30, -30, -30]))
    target = on_grid(waves, (25, 26, 12), OBLIQUE @ nib.affines.from_matvec(np.eye(3), [-5, -15, -36]))
    new = resample_like(volume, target, fill=-1000, order=order)
    np.testing.assert_array_equal(new.affine, target.affine)
    at = nib.affines.apply_affine(
        np.linalg.inv(volume.affine), np.moveaxis(positions((25, 26, 12), target.affine), 0, -1)
    )
    size = np.array(volume.data.shape)
    outside = ((at < -0.5) | (at > size - 0.5)).any(axis=-1)
    inner = ((at > 3) & (at < size - 4)).all(axis=-1)
    assert outside.any() and inner.sum() > 1000
    assert (new.data[outside] == -1000).all()
    assert np.abs(new.data - target.data)[inner].max() < 3
    assert new.data[~outside].min() > -200


def test_fill_where_there_was_nothing():
    here = Volume(np.ones((4, 4, 4)), np.eye(4))
    elsewhere = Volume(np.zeros((3, 3, 3)), nib.affines.from_matvec(np.eye(3), [3, 500, 0]))
    assert (resample_like(here, elsewhere, fill=-1000).data == -1000).all()


@pytest.mark.parametrize("spacing", [0, -1, np.nan, np.inf, (1, 1, 0), 1e-4])
def test_impossible_spacing(spacing):
    with pytest.raises(InputError, match="spacing is"):
        resample(on_grid(ramp), spacing)


def test_same_grid():
    a = on_grid(ramp)
    check_same_grid(a, on_grid(waves, axes="LPS"), "mr", "ct")
    check_same_grid(a, Volume(a.data, a.affine + 5e-4 * np.eye(4, k=3)), "mr", "ct")
    with pytest.raises(InputError, match=r"^mr\.nii and ct\.nii: .*0\.01 mm apart"):
        check_same_grid(a, Volume(a.data, a.affine + 0.01 * np.eye(4, k=3)), "mr.nii", "ct.nii")
    with pytest.raises(InputError, match=r"shape \(20, 24, 16\) against \(19, 24, 16\)"):
        check_same_grid(a, Volume(a.data[1:], a.affine), "mr", "ct")


def test_a_small_turn_is_measured_where_it_shows():
    """2e-4 in one entry of the affine is little, and 0.02 mm a hundred voxels away."""
    a = Volume(np.zeros((100, 3, 3)), np.eye(4))
    turned = a.affine.copy()
    turned[1, 0] = 2e-4
    with pytest.raises(InputError, match="0.0198 mm apart"):
        check_same_grid(a, Volume(a.data, turned), "mr", "ct")


def test_like_keeps_the_grid_and_the_shape():
    volume = on_grid(ramp, axes="LAS")
    mask = volume.like(volume.data > 0)
    assert mask.data.dtype == np.float32 and mask.axes == "LAS"
    with pytest.raises(InputError, match="do not fit"):
        volume.like(np.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="3 axes"):
        Volume(np.zeros((2, 3)), np.eye(4))


# ------------------------------------------------------------------------------------------------------------- body


def head(background: float, tissue: float, bone: float, noise: float) -> tuple[Volume, np.ndarray]:
    """An ellipsoid of tissue in a shell of bone under skin, with a sinus of air; and where it is."""
    r = np.linalg.norm((np.indices((40, 48, 32)).T - [20, 24, 12]) / [15, 18, 16], axis=-1).T
    x, y, z = np.indices(r.shape)
    data = np.where(r < 1, tissue, background).astype(float)
    data[(r > 0.8) & (r < 0.92)] = bone
    data[np.linalg.norm([x - 20, y - 32, z - 10], axis=0) < 4] = background
    data[1:39, :2, 2:30] = tissue  # the table, or a second object
    return Volume(data + noise * np.random.default_rng(0).normal(size=r.shape), np.eye(4)), r < 1


@pytest.mark.parametrize(
    ("modality", "values"),
    [("ct", (-1000, 40, 900, 20)), ("mr", (0, 300, 40, 12)), ("mr", (30, 300, 60, 30))],
    ids=["ct", "mr", "noisy mr"],
)
def test_body_mask_is_the_body(modality, values):
    volume, body = head(*values)
    mask = body_mask(volume, modality)
    assert mask.dtype == bool and mask.shape == body.shape
    assert 2 * (mask & body).sum() / (mask.sum() + body.sum()) > 0.93
    assert mask[20, 32, 10], "the sinus belongs to the body"
    assert not mask[20, 1, 10], "the table does not"


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def patient():
    """A phantom patient in voxels of 3.2 x 3.2 x 4 mm."""
    return draw_patient(0, 0, (80, 80, 48))


@pytest.mark.parametrize("side", ["right", "left", "front", "back", "both", "top and bottom", "all"])
def test_a_head_that_leaves_the_picture_keeps_its_skull(side):
    """Shells of skin, skull and brain, as in an MR of a field of view that is too small."""
    x, y, z = np.meshgrid(*(np.arange(-92, 93, 2.0) for _ in range(3)), indexing="ij")
    r = np.sqrt((x / 75) ** 2 + (y / 90) ** 2 + (z / 85) ** 2)
    data = np.abs(
        np.select([r < 0.82, r < 0.9, r < 1], [600, 20, 900]) + np.random.default_rng(0).normal(0, 8, r.shape)
    )
    width, depth = np.s_[13:-13], np.s_[5:-5]
    cut = {
        "right": np.s_[:-13],
        "left": np.s_[13:],
        "front": np.s_[:, :-5],
        "back": np.s_[:, 5:],
        "both": (width,),
        "top and bottom": np.s_[:, :, 8:-8],
        "all": (width, depth, np.s_[8:-8]),
    }[side]
    assert dice(body_mask(Volume(data[cut], np.diag([2, 2, 2, 1])), "mr"), (r < 1)[cut]) > 0.97


@pytest.mark.parametrize("thick", [1, 2])
def test_a_head_holder_is_no_body(patient, thick):
    ct = patient.ct()
    rows, columns = (np.flatnonzero(patient.body.any(axes)) for axes in ((1, 2), (0, 2)))
    left, right, back, front = rows[0] - 1, rows[-1] + 2, columns[0], columns[-1]
    middle = (left + right) // 2
    ct[left - thick : left, back:front] = ct[right : right + thick, back:front] = -150
    ct[left - thick : right + thick, back - thick : back] = -150
    ct[middle, back : back + 6] = np.maximum(ct[middle, back : back + 6], -150)  # where the head rests on it
    assert dice(body_mask(Volume(ct, patient.space.affine), "ct"), patient.body) > 0.98


@pytest.mark.parametrize(("shape", "least"), [((40, 40, 24), 0.90), ((80, 80, 48), 0.96), ((128, 128, 96), 0.98)])
def test_the_body_of_a_phantom(shape, least):
    person = draw_patient(3, 1, shape)
    for modality, image in (("mr", person.mr()), ("ct", person.ct())):
        assert dice(body_mask(Volume(image, person.space.affine), modality), person.body) > least


def test_three_slices_say_nothing(patient, recwarn):
    mr = Volume(patient.mr()[:, :, 23:26], patient.space.affine)
    assert dice(body_mask(mr, "mr"), patient.body[:, :, 23:26]) > 0.96 and not recwarn.list


@pytest.mark.parametrize("given", [True, False], ids=["mask", "no mask"])
def test_a_ct_that_is_not_in_hu_is_refused(patient, given):
    ct, affine = patient.ct(), patient.space.affine
    middle = tuple(slice(n // 3, 2 * n // 3) for n in ct.shape)
    padded = np.where(np.arange(80)[:, None, None] < 16, -3024, ct)
    fine = {
        "as it is": ct,
        "no air in view": ct[middle],
        "padded": padded,
        "cut out": np.where(patient.body, ct, -1000),
    }
    wrong = {"1024": (ct + 1024).clip(0), "1000": ct + 1000, "twice": ct - 1024, "unit": ct / 1000 + 1}
    wrong |= {"not the air": np.where(patient.body, ct + 1024, -1000), "MR": patient.mr()}
    for name, image in (fine | wrong).items():
        body = body_mask(Volume(image, affine), "ct") if not given else patient.body
        body = body if image.shape == body.shape else body[middle]
        if name in fine:
            check_hu(image, body, "ct.nii.gz")
        else:
            with pytest.raises(InputError, match=r"^ct.nii.gz: this CT is not in HU \(air is .* tissue"):
                check_hu(image, body, "ct.nii.gz")


@pytest.mark.parametrize(
    ("modality", "value", "says"),
    [("ct", -1000, "no body found in this CT"), ("mr", 7, "7 nearly everywhere"), ("pet", 1, "'mr' or 'ct'")],
)
def test_no_body(modality, value, says):
    with pytest.raises(InputError, match=says):
        body_mask(Volume(np.full((5, 6, 7), value), np.eye(4)), modality)


# ------------------------------------------------------------------------------------------------------ intensities


def test_ct_intensities_as_designed():
    hu = np.array([-2000, -1000, 250, 1500, 4000, 40])
    mask = np.array([1, 1, 1, 1, 1, 0])
    x = normalise_ct(hu, mask)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, [-1, -1, 0, 1, 1, -1])
    np.testing.assert_array_equal(denormalise_ct(x, mask), [-1000, -1000, 250, 1500, 1500, -1000])
    np.testing.assert_array_equal(denormalise_ct(np.array([-3, 0.5, 2]), np.array([1, 0, 1])), [-1000, -1000, 1500])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1000, 1500, width=32, allow_subnormal=False), min_size=1, max_size=20))
def test_ct_there_and_back(hu):
    hu = np.array(hu, np.float32)
    np.testing.assert_allclose(denormalise_ct(normalise_ct(hu, hu < 9999), hu < 9999), hu, atol=1e-3)


def test_mr_intensities_as_designed():
    mr = np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
    mask = np.ones_like(mr, bool)
    mask[0] = False
    x = normalise_mr(mr, mask)
    top = np.percentile(mr[mask], 99.5)
    assert x.dtype == np.float32 and x.min() == -1 and x.max() == 1
    assert (x[0] == -1).all()
    np.testing.assert_allclose(x[3], 2 * mr[3] / top - 1, rtol=1e-5)
    np.testing.assert_allclose(normalise_mr(50 * mr, mask), x, atol=1e-5)  # a scanner's scale does not matter
    np.testing.assert_array_equal(normalise_mr(mr, mask.astype(np.float32)), x)  # a mask as it comes from a file


def test_an_mr_with_a_mean_of_0_is_scaled_from_its_lowest(patient, capsys):
    mr, body = patient.mr(), patient.body
    plain = normalise_mr(mr, body)
    assert not capsys.readouterr().err
    scored = np.where(body, (mr - mr[body].mean()) / mr[body].std(), 0).astype(np.float32)
    x = normalise_mr(scored, body)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "negative values" in said
    assert np.corrcoef(x[body], plain[body])[0, 1] > 0.999 and (x[body] == -1).mean() < 0.01
    assert dice(body_mask(Volume(scored, patient.space.affine), "mr"), body) > 0.96
    ringing = np.where(np.arange(mr.size).reshape(mr.shape) % 999 == 0, np.float32(-9), mr)
    assert np.median(np.abs(normalise_mr(ringing, body) - plain)) < 0.01 and not capsys.readouterr().err


@pytest.mark.parametrize(
    ("mr", "mask", "says"),
    [
        (np.arange(8.0), np.zeros(8), "the mask is empty"),
        (np.full(8, 3.0), np.ones(8), "is 3 everywhere"),
        (-np.arange(8.0), np.ones(8), "percentile in the mask is -"),
    ],
    ids=["empty mask", "constant", "negative"],
)
def test_mr_without_contrast(mr, mask, says):
    with pytest.raises(InputError, match=says):
        normalise_mr(mr, mask)


# -------------------------------------------------------------------------------------------------------- real data


@pytest.fixture(scope="module")
def real() -> dict[str, Volume]:
    """MNI T1 average, CT template and head mask."""
    folder = Path(os.environ.get("MRCT_DATA", "")) / "mr_ct" / "1MNI01"
    if not folder.is_dir():
        pytest.skip("no real pair here: point MRCT_DATA at a folder that holds mr_ct/1MNI01")
    return {name: read_volume(folder / f"{name}.nii.gz") for name in ("mr", "ct", "mask")}


def test_real_pair_is_turned_from_las_to_ras(real):
    for name, volume in real.items():
        assert volume.data.shape == (91, 109, 91) and volume.axes == "LAS"
        np.testing.assert_array_equal(np.diag(volume.affine), [2, 2, 2, 1])
        np.testing.assert_array_equal(volume.affine[:3, 3], [-90, -126, -72])
        check_same_grid(real["mr"], volume, "mr", name)
        raw = nib.load(Path(os.environ["MRCT_DATA"]) / "mr_ct" / "1MNI01" / f"{name}.nii.gz").get_fdata()
        np.testing.assert_array_equal(volume.data, raw[::-1])


def test_real_pair_has_its_figures(real):
    """The error of an image of water, from the data's README."""
    ct, mask = real["ct"].data, real["mask"].data > 0
    assert np.abs(ct[mask]).mean() == pytest.approx(86.0, abs=0.1)
    x = normalise_mr(real["mr"].data, mask)
    assert x.min() >= -1 and x.max() == 1 and (x[~mask] == -1).all()


@pytest.mark.parametrize(("name", "dice"), [("mr", 0.96), ("ct", 0.99)])
def test_real_body(real, name, dice):
    mask, found = real["mask"].data > 0, body_mask(real[name], name)
    assert 2 * (mask & found).sum() / (mask.sum() + found.sum()) > dice
