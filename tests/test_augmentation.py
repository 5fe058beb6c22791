"""Bending images and labels: together, by as much as was asked, without new labels, and as torchvision does it."""

import torch
import torch.nn.functional as F
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import elastic

from mrctlib.course.exercises.lab6 import deform


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


def test_the_same_as_torchvision():
    torch.manual_seed(0)
    images, labels = squares()
    displacement = F.interpolate(torch.randn(2, 2, 4, 4), (24, 30), mode="bicubic", align_corners=True)
    bent, named = deform(images, labels, displacement)
    for k, field in enumerate(displacement):
        theirs = (2 * field.flip(0) / torch.tensor([30, 24])[:, None, None]).permute(1, 2, 0)[None]  # right, down
        assert torch.allclose(bent[k, :, 3:-3, 3:-3], elastic(images[k], theirs)[:, 3:-3, 3:-3], atol=1e-4)
        assert (named[k] == elastic(tv_tensors.Mask(labels[k]), theirs)).float().mean() > 0.99  # but for halfway points
