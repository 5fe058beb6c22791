"""Volumes to slices and back, on volumes whose every voxel says where it is."""

import numpy as np
import pytest
import torch
from notebook_code import defined_in

from mrctlib.course.comparison import turned
from mrctlib.data.volumes import Volume

AXES, cut, stack, step_between_slices = defined_in(
    "labs/07_paired_mr_to_ct.ipynb", "AXES", "cut", "stack", "step_between_slices"
)


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
    slices = cut(volumes, plane)
    assert slices.shape == shape
    assert torch.equal(slices[2], third(volumes))  # third slice of the first volume
    assert torch.equal(slices[-1], cut(volumes[1:], plane)[-1])  # the last is the second volume's
    assert torch.equal(stack(slices, plane, 2), volumes)


def test_the_axes_are_those_of_the_pictures():
    from mrctlib import plots

    volume = numbered(1, 1)[0, 0].numpy()
    for plane in plots.PLANES:
        shown = plots.plane(volume, plane, 1)
        assert set(shown.ravel()) == set(np.take(volume, 1, AXES[plane]).ravel())


def test_a_step_shows_across_its_own_plane_only():
    mask = np.zeros((6, 7, 8), bool)
    mask[1:5, 1:6, 1:7] = True
    stripes = np.broadcast_to(10.0 * (np.arange(8) % 2), mask.shape)  # every second axial slice is 10 HU too high
    assert step_between_slices(stripes, mask, "axial") == pytest.approx(10)
    assert step_between_slices(stripes, mask, "coronal") == 0
    assert step_between_slices(stripes, mask, "sagittal") == 0


def test_steps_count_in_the_mask_only_and_nan_outside_is_no_matter():
    mask = np.zeros((4, 4, 4), bool)
    mask[1:3] = True
    error = np.where(mask, 0.0, np.nan)
    error[2] = 5.0
    assert step_between_slices(error, mask, "sagittal") == pytest.approx(5)


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
