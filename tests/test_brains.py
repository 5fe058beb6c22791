"""The stacks of brain slices that lecture 3 learns from."""

import torch

from mrctlib.course.brains import SHAPE, SPACING_MM, draw_brains
from mrctlib.phantom.head import draw_patient


def test_images_and_truth_lie_on_each_other():
    brains = draw_brains(0, range(2))
    assert brains.images.shape == brains.labels.shape == brains.ventricles.shape == (2, 12, 60, 72)
    assert SPACING_MM == (256 / 96, 256 / 96, 8.0)
    images, labels = brains.slices()
    assert images.shape == (24, 1, 60, 72) and torch.equal(images[13, 0], brains.images[1, 1])
    csf, grey, white = (float(images[:, 0][labels == index].mean()) for index in (1, 2, 3))
    assert csf < grey < white  # T1-weighted
    assert (labels[brains.ventricles.flatten(0, 1) > 0.9] == 1).all()


def test_nearly_all_of_the_ventricles_is_in_the_box():
    for case in range(4):
        inside, whole = draw_brains(0, [case]).ventricles, draw_patient(0, case, SHAPE).ventricles
        assert inside.sum() / whole.sum() > 0.9


def test_another_scanner_changes_only_the_images():
    a, b = draw_brains(0, [3]), draw_brains(0, [3], "b")
    assert torch.equal(a.labels, b.labels) and not torch.allclose(a.images, b.images, atol=0.01)


def test_thin_slices_lie_where_the_thick_ones_do():
    thick, thin = draw_brains(0, [1]), draw_brains(0, [1], thin=True)
    assert thin.images.shape == thick.images.shape
    assert (thin.labels == thick.labels).float().mean() > 0.75
    assert abs(thin.ventricles.sum() / thick.ventricles.sum() - 1) < 0.2


def test_fluid_is_bright_on_t2():
    brains = draw_brains(0, [2], contrasts=("t2w", "t1w"))
    csf, grey, white = (float(brains.images[brains.labels == index].mean()) for index in (1, 2, 3))
    assert csf > grey > white
    assert torch.equal(brains.seen["t2w"], brains.images)
    assert torch.equal(brains.seen["t1w"], draw_brains(0, [2]).images)
