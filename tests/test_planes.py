"""Volumes to slices and back, on volumes whose every voxel says where it is."""

import numpy as np
import pytest
import torch

from mrctlib.data import planes
from mrctlib.data.planes import turned
from mrctlib.data.volumes import Volume
from mrctlib.runtime import InputError


def numbered(count: int = 2, channels: int = 3) -> torch.Tensor:
    """Volumes (count, channels, 4, 5, 6) in which no two voxels are alike."""
    shape = (count, channels, 4, 5, 6)
    return torch.arange(float(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize(
    ("plane", "shape", "third"),
    [
        ("axial", (12, 3, 4, 5), lambda v: v[0, :, :, :, 2]),
        ("coronal", (10, 3, 4, 6), lambda v: v[0, :, :, 2, :]),
        ("sagittal", (8, 3, 5, 6), lambda v: v[0, :, 2, :, :]),
    ],
)
def test_slices_are_the_volumes_and_come_back(plane, shape, third):
    volumes = numbered()
    slices = planes.cut(volumes, plane)
    assert slices.shape == shape
    assert torch.equal(slices[2], third(volumes))  # third slice of the first volume
    assert torch.equal(slices[-1], planes.cut(volumes[1:], plane)[-1])  # the last is the second volume's
    assert torch.equal(planes.stack(slices, plane, 2), volumes)


def test_the_axes_are_those_of_the_pictures():
    from mrctlib import plots

    volume = numbered(1, 1)[0, 0].numpy()
    for plane in plots.PLANES:
        shown = plots.plane(volume, plane, 1)
        assert set(shown.ravel()) == set(np.take(volume, 1, planes.axis_of(plane)).ravel())


def test_fusing_is_the_mean_and_cancels_what_is_not_shared():
    truth = torch.randn(2, 1, 4, 4, 4)
    error = torch.randn_like(truth)
    assert torch.allclose(planes.fuse([truth + error, truth - error]), truth, atol=1e-6)
    assert torch.allclose(planes.fuse([truth + 1, truth + 1, truth + 4]), truth + 2, atol=1e-6)


def test_a_step_shows_across_its_own_plane_only():
    mask = np.zeros((6, 7, 8), bool)
    mask[1:5, 1:6, 1:7] = True
    stripes = np.broadcast_to(10.0 * (np.arange(8) % 2), mask.shape)  # every second axial slice is 10 HU too high
    assert planes.step_between_slices(stripes, mask, "axial") == pytest.approx(10)
    assert planes.step_between_slices(stripes, mask, "coronal") == 0
    assert planes.step_between_slices(stripes, mask, "sagittal") == 0


def test_steps_count_in_the_mask_only_and_nan_outside_is_no_matter():
    mask = np.zeros((4, 4, 4), bool)
    mask[1:3] = True
    error = np.where(mask, 0.0, np.nan)
    error[2] = 5.0
    assert planes.step_between_slices(error, mask, "sagittal") == pytest.approx(5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: planes.cut(numbered(), "oblique"), "choose one of axial, coronal, sagittal"),
        (lambda: planes.cut(numbered()[0], "axial"), "give a batch"),
        (lambda: planes.stack(planes.cut(numbered(), "axial"), "axial", 5), "do not make up 5 volumes"),
        (lambda: planes.stack(planes.cut(numbered(), "axial"), "axial", 0), "do not make up 0 volumes"),
        (lambda: planes.fuse([]), "not none"),
        (lambda: planes.fuse([numbered(), numbered(1)]), "candidates of one shape"),
        (lambda: planes.step_between_slices(np.zeros((2, 2, 2)), np.ones((2, 2, 3)), "axial"), "of one shape"),
        (lambda: planes.step_between_slices(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), "axial"), "no two neighbouring"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_turned_and_back(plane):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = 5, 6, 7
    volume = Volume(np.random.default_rng(0).normal(size=(4, 5, 6)), affine)
    there = turned(volume, plane)
    across = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    assert there.data.shape[2] == volume.data.shape[across] and there.spacing[2] == volume.spacing[across]
    back = turned(there, plane, back=True)
    assert np.array_equal(back.data, volume.data) and np.array_equal(back.affine, volume.affine)
