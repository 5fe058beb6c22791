"""The count of lesions on drawn images whose lesions are known."""

import math

import pytest
import torch
from notebook_code import defined_in

count_lesions, _ = defined_in("lectures/08_gans_in_medicine.ipynb", "count_lesions", "LesionCount")

HEALTHY, LESION = 0.2, 0.8


def squares(*corners, size=3):
    """One image (1, 16, 16) of healthy tissue with square lesions, and where they lie."""
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    for row, column in corners:
        mask[:, row : row + size, column : column + size] = True
    return torch.where(mask, LESION, HEALTHY), mask


def count(image, mask, smallest=4, pixel_mm=2.0):
    return count_lesions(image[None], mask[None], HEALTHY, LESION, smallest, pixel_mm)


def test_the_truth_has_all_its_lesions_and_no_others():
    with_lesion, without = squares((4, 5)), squares()
    images, masks = (torch.stack(both) for both in zip(with_lesion, without, strict=True))
    found = count_lesions(images, masks, HEALTHY, LESION, 4)
    assert found.removed.tolist() == [False] and found.shifts.tolist() == [0.0]
    assert len(found.added) == len(found.sizes) == 0
    assert found.rates(0) == {"removed": 0.0, "moved": 0.0, "added": 0.0}


def test_a_lesion_painted_over_is_removed():
    found = count(squares()[0], squares((4, 5))[1])
    assert found.removed.tolist() == [True] and math.isnan(found.shifts[0])
    assert found.rates(1.0) == {"removed": 1.0, "moved": 0.0, "added": 0.0}


def test_an_invented_lesion_is_added_with_its_middle_and_size():
    found = count(squares((2, 2), (9, 10), size=3)[0], squares((2, 2))[1])
    assert found.removed.tolist() == [False]
    assert found.added.tolist() == [[0.0, 10.0, 11.0]] and found.sizes.tolist() == [9]
    assert found.rates(1.0)["added"] == 1.0


def test_specks_are_not_counted():
    image = squares((9, 10), size=2)[0]
    assert len(count(image, squares()[1], smallest=5).added) == 0
    assert len(count(image, squares()[1], smallest=4).added) == 1


def test_a_shift_is_measured_in_mm():
    found = count(squares((5, 5))[0], squares((4, 5))[1])  # a row lower: 6 of 9 pixels still bright
    assert found.removed.tolist() == [False]
    assert found.shifts.tolist() == pytest.approx([2.0])
    assert found.rates(1.9)["moved"] == 1.0 and found.rates(2.1)["moved"] == 0.0
    assert len(found.added) == 0


def test_a_lesion_that_left_its_place_is_removed_and_added():
    found = count(squares((11, 5))[0], squares((2, 5))[1])
    assert found.rates(100.0) == {"removed": 1.0, "moved": 0.0, "added": 1.0}


def test_touching_corners_are_one_blob():
    found = count(squares((2, 2), (5, 5))[0], squares()[1])
    assert found.sizes.tolist() == [18]


def test_added_is_per_image_and_the_others_per_lesion():
    pairs = [squares(), squares(), squares((1, 1), (8, 8)), squares()]
    masks = torch.stack([squares()[1], squares((1, 1))[1], squares((1, 1))[1], squares()[1]])
    found = count_lesions(torch.stack([image for image, _ in pairs]), masks, HEALTHY, LESION, 4)
    assert found.rates(1.0) == {"removed": 0.5, "moved": 0.0, "added": 0.25}
    assert found.added[:, 0].tolist() == [2.0] and found.images == 4


def test_without_lesions_there_is_no_share():
    assert math.isnan(count(*squares()).rates(1.0)["removed"])


def test_bad_input():
    image, mask = squares((4, 5))
    with pytest.raises(AssertionError):
        count_lesions(image[None], mask, HEALTHY, LESION, 4)
    with pytest.raises(AssertionError):
        count_lesions(image[None], mask[None], LESION, HEALTHY, 4)
