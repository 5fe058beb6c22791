"""Drawn nodules: shapes and range, the same from one seed, two kinds that differ, and how they are measured."""

import math

import pytest
import torch

from mrctlib.course.nodules import LUNG_WINDOW, PIXEL_MM, SIZE, draw_nodules, lung_hu, measure_nodules
from mrctlib.runtime import InputError


@pytest.fixture(scope="module")
def nodules():
    return draw_nodules(400, seed=0)


def test_shapes_range_and_balance(nodules):
    images, classes = nodules
    assert images.shape == (400, 1, SIZE, SIZE) and images.dtype == torch.float32 and classes.shape == (400,)
    assert -1 <= images.min() < -0.9 and 0.9 < images.max() <= 1
    assert set(classes.tolist()) == {0, 1} and 0.4 < classes.float().mean() < 0.6


def test_one_seed_one_set_whatever_the_count(nodules):
    images, classes = nodules
    fewer = draw_nodules(70, seed=0)
    assert torch.equal(fewer[0], images[:70]) and torch.equal(fewer[1], classes[:70])
    assert not torch.equal(draw_nodules(70, seed=1)[0], images[:70])
    assert len(images.flatten(1).unique(dim=0)) == 400


def test_lung_around_and_tissue_in_the_middle(nodules):
    hu = lung_hu(nodules[0][:, 0])
    assert -880 < hu[:, :8].median() < -820
    assert hu[:, 27:29, 27:29].mean((1, 2)).quantile(0.05) > -200


def test_malignant_ones_are_larger_and_rougher_but_sizes_overlap(nodules):
    images, classes = nodules
    diameter, _ = measure_nodules(images)
    benign, malignant = diameter[classes == 0], diameter[classes == 1]
    assert 3 < benign.min() and malignant.max() < 26  # mm
    assert malignant.mean() > 1.5 * benign.mean()
    assert malignant.quantile(0.1) < benign.quantile(0.9)


def test_only_benign_ones_are_calcified(nodules):
    images, classes = nodules
    _, density = measure_nodules(images)
    assert 0.15 < (density[classes == 0] > 60).float().mean() < 0.45
    assert density[classes == 1].max() < 60


@pytest.mark.parametrize("radius", [3.0, 8.0])
def test_a_disc_is_measured_right_and_other_things_are_left_out(radius):
    low, high = LUNG_WINDOW
    axis = (torch.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    away = torch.hypot(axis[:, None], axis[None, :])
    hu = torch.full((3, SIZE, SIZE), -850.0)
    hu[:2, away < radius] = 50
    hu[1, SIZE // 2] = 0  # a vessel one pixel wide, right through
    hu[:, 2:10, 2:10] = 50  # something in the corner
    diameter, density = measure_nodules(((hu - low) / (high - low) * 2 - 1)[:, None])
    assert diameter[:2].tolist() == pytest.approx([2 * radius] * 2, rel=0.08)
    assert density[0] == pytest.approx(50, abs=1) and density[1] == pytest.approx(50, abs=15)
    assert diameter[2] == 0 and math.isnan(density[2])


def test_values_go_back_to_hu():
    assert lung_hu(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [-1000, -300, 400]


def test_none_is_refused():
    with pytest.raises(InputError, match="count is 0"):
        draw_nodules(0, 0)
