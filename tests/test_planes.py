"""Volumes to slices and back, on volumes whose every voxel says where it is."""

import numpy as np
import pytest
import torch
from notebook_code import defined_in

_, _, VOXEL, AXES, cut, stack, shifted, cavities_of, behind_the_nose = defined_in(
    "labs/07_paired_mr_to_ct.ipynb",
    *("HERE", "SHAPE", "VOXEL", "AXES", "cut", "stack", "shifted", "cavities_of", "behind_the_nose"),
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


def test_patients_are_shifted_as_a_whole_by_the_same_length_and_nowhere_on_average():
    count, size = 8, 33
    blobs = torch.full((count, 1, size, size, 3), -1.0)
    blobs[:, :, 14:19, 14:19] = 1
    moved = shifted(blobs, 3 * VOXEL[0], 0) + 1
    places = torch.arange(size) - 16.0
    total = moved.sum((2, 3))
    way = torch.stack(
        [(moved.sum(3) * places[:, None]).sum(2) / total, (moved.sum(2) * places[:, None]).sum(2) / total]
    )
    assert torch.allclose(way.norm(dim=0), torch.tensor(3.0), atol=0.01)  # voxels, each patient, each slice
    assert torch.allclose(way[..., :1], way, atol=1e-3), "the slices of a patient move together"
    assert way.mean((1, 2, 3)).abs().max() < 0.01, "no mean shift that a network could learn"
    assert torch.allclose(shifted(blobs, 0, 0), blobs, atol=1e-5)


def test_the_target_behind_the_nose_lies_behind_the_cavities_and_a_beam_from_the_front_meets_them():
    from mrctlib.phantom.head import draw_patient

    patient = draw_patient(100, 0, (80, 80, 64))
    hu, body = patient.ct(), patient.body
    cavities, target = cavities_of(hu, body), behind_the_nose(hu, body)
    assert cavities.any() and not cavities[:, :40].any() and (hu[cavities] < -400).all()
    assert body[target].all() and not (cavities & target).any()
    assert target.sum() * np.prod(VOXEL) == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.15)
    ahead = cavities & target.any(1, keepdims=True)
    assert (np.argwhere(ahead)[:, 1] > np.argwhere(target)[:, 1].max()).mean() > 0.95, "nearly all of them in front"
