"""Bending images and labels: together, by as much as was asked, and without new labels."""

import pytest
import torch

from mrctlib.data.augmentation import deform, elastic, smooth_displacement
from mrctlib.runtime import InputError


def squares() -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.zeros(2, 24, 30, dtype=torch.long)
    labels[0, 4:12, 10:20], labels[1, 8:20, 5:15] = 3, 1
    return labels[:, None].float(), labels


def test_without_displacement_nothing_changes():
    images, labels = squares()
    bent, named = deform(images, labels, torch.zeros(2, 2, 24, 30))
    assert torch.allclose(bent, images, atol=1e-5) and torch.equal(named, labels) and named.dtype == torch.long


def test_whole_pixels_fetch_from_below_and_from_the_right():
    images, labels = squares()
    displacement = torch.zeros(2, 2, 24, 30)
    displacement[:, 0], displacement[:, 1] = 2, -3
    bent, named = deform(images, labels, displacement)
    assert torch.equal(named, labels.roll((-2, 3), (1, 2)))
    assert torch.allclose(bent[:, 0], named.float(), atol=1e-4)


def test_half_a_pixel_blends_images_and_never_labels():
    images, labels = squares()
    bent, named = deform(images, labels, torch.full((2, 2, 24, 30), 0.4))
    assert set(named.unique().tolist()) == {0, 1, 3}
    assert bent.unique().numel() > 4


def test_displacements_are_smooth_and_as_strong_as_asked():
    torch.manual_seed(0)
    field = smooth_displacement(200, 40, 50, 3.0)
    assert field.shape == (200, 2, 40, 50)
    assert abs(float(field[..., 0, 0].std()) - 3) < 0.3  # a knot lies on the corner
    assert field.diff(dim=-1).abs().mean() < 0.15 * field.abs().mean()  # white noise has 1.4


def test_image_and_labels_go_the_same_way_and_each_example_its_own():
    torch.manual_seed(0)
    images, labels = squares()
    bent, named = elastic(images[:1].expand(2, -1, -1, -1), labels[:1].expand(2, -1, -1))
    assert ((bent[:, 0] > 1.5) == (named == 3)).float().mean() > 0.97
    assert not torch.equal(named[0], named[1]) and not torch.equal(named[0], labels[0])


def test_what_does_not_fit_is_refused():
    images, labels = squares()
    with pytest.raises(InputError, match="do not fit"):
        deform(images, labels[:, :-1], torch.zeros(2, 2, 24, 30))
    with pytest.raises(InputError, match="do not fit"):
        deform(images, labels, torch.zeros(2, 24, 30, 2))
