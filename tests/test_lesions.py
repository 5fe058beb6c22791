"""The slices that lab 2 explains: the mask is where the lesion is, and nothing but the lesion tells the class."""

import pytest
import torch

from mrctlib.course.lesions import BOX, FINDINGS, SHAPE, draw_lesion_slices
from mrctlib.phantom.head import draw_patient


@pytest.fixture(scope="module")
def slices():
    return draw_lesion_slices(0, range(12))


def test_shapes_and_patients(slices):
    assert len(slices) == 12 * 12
    assert slices.images.shape == slices.masks.shape == (144, 1, 80, 64)
    assert slices.images.dtype == torch.float32 and slices.masks.dtype == torch.bool
    assert slices.patients.tolist() == [case for case in range(12) for _ in range(12)]
    some = slices[slices.patients == 3]
    assert len(some) == 12 and torch.equal(some.images, slices.images[36:48])


def test_a_slice_has_a_mask_exactly_where_its_class_has_a_lesion(slices):
    sizes = slices.masks.flatten(1).sum(1)
    assert torch.equal(sizes > 0, slices.classes > 0)
    assert set(slices.classes.tolist()) == set(range(len(FINDINGS)))
    assert 25 < float(sizes[slices.classes > 0].float().mean()) < 150


def test_only_the_lesion_differs_from_the_same_patient_without_one(slices):
    patient = draw_patient(0, 5, SHAPE)
    healthy = torch.from_numpy(patient.mr("t2w"))[BOX].permute(2, 1, 0).flip(1, 2)[:, None] / 1000
    mine = slices[slices.patients == 5]
    near = torch.nn.functional.max_pool2d(mine.masks.float(), 7, 1, 3) > 0
    assert torch.allclose(mine.images[~near], healthy[~near], atol=1e-3)
    assert float((mine.images - healthy)[mine.masks].abs().mean()) > 0.3


def test_a_tumour_is_brighter_than_white_matter_and_a_calcification_black(slices):
    _, tumour, calcification = (
        slices.images[slices.masks & (slices.classes == kind)[:, None, None, None]] for kind in range(3)
    )
    assert 1.6 < float(tumour.median()) < 2.6 and float(calcification.median()) < 0.4


def test_the_same_everywhere_and_another_for_another_seed():
    one, again, other = (
        draw_lesion_slices(0, [2]),
        draw_lesion_slices(0, range(1, 3))[slice(12, 24)],
        draw_lesion_slices(1, [2]),
    )
    assert torch.equal(one.images, again.images) and torch.equal(one.classes, again.classes)
    assert not torch.allclose(one.images, other.images, atol=0.1)
