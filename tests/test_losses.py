"""Losses against values worked out by hand, and against PyTorch's own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from notebook_code import defined_in

from mrctlib import losses, metrics
from mrctlib.course.exercises.lab7 import forgiving_huber
from mrctlib.course.networks.segmentation import soft_dice_loss
from mrctlib.losses import Schedule

misregistration, *_ = defined_in("labs/07_paired_mr_to_ct.ipynb", "misregistration", "pooled", "forgiving_huber")


def test_least_squares_by_hand():
    scores = torch.tensor([0.0, 1.0, 3.0])
    assert losses.least_squares_gan(scores, real=True) == pytest.approx((1 + 0 + 4) / 3)
    assert losses.least_squares_gan(scores, real=False) == pytest.approx((0 + 1 + 9) / 3)
    assert losses.least_squares_gan(scores, True, torch.tensor([1.0, 0.0, 1.0])) == pytest.approx(5 / 2)


@pytest.mark.parametrize("real", [True, False])
def test_cross_entropy_is_torchs(real):
    scores = torch.randn(4, 1, 5, 5)
    expected = F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))
    torch.testing.assert_close(losses.cross_entropy_gan(scores, real), expected)


def test_cycle_and_identity_are_l1():
    a, b = torch.randn(2, 2, 1, 6, 6)
    torch.testing.assert_close(losses.cycle_consistency(a, b), F.l1_loss(b, a))
    torch.testing.assert_close(losses.identity(a, b), F.l1_loss(b, a))


def test_mind_forgets_contrast_and_sign_but_not_place():
    torch.manual_seed(0)
    image = F.avg_pool2d(torch.randn(1, 1, 40, 40), 5, 1, 2)
    inverted, moved = 0.3 - 2 * image, image.roll(3, 3)
    assert losses.mind_consistency(image, inverted) < 0.02
    assert losses.mind_consistency(image, moved) > 5 * losses.mind_consistency(image, inverted)
    assert losses.mind(image).min() > 0 and losses.mind(image).max() <= 1


def test_mind_of_a_flat_image_is_finite_with_its_gradient():
    flat = torch.full((1, 1, 8, 8), -1.0, requires_grad=True)
    losses.mind(flat).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_background_looks_outside_only():
    depth = torch.zeros(1, 1, 4, 4)
    depth[..., 1:3, 1:3] = 2.0
    fake = torch.where(depth > 0, 7.0, -0.5)
    assert losses.background(fake, depth, torch.full_like(depth, -1.0)) == pytest.approx(0.5)
    assert losses.background(fake, depth + 1, torch.full_like(depth, -1.0)) == 0


def test_profile_compares_averages_not_pixels():
    depth = torch.full((1, 1, 8, 8), 5.0)
    typical = torch.zeros(1, 1, 8, 8)
    mirrored = torch.where(torch.arange(8)[:, None] < 4, -0.5, 0.5).expand(1, 1, 8, 8)  # right and left cancel
    assert losses.profile(mirrored, depth, typical) == pytest.approx(0, abs=1e-6)
    assert losses.profile(typical + 0.5, depth, typical) == pytest.approx(0.5)
    assert losses.profile(typical + 0.5, torch.zeros_like(depth), typical) == 0


def test_schedules_go_straight_and_then_stay():
    weight = Schedule(10, 2, until=0.5)
    assert [weight.at(x) for x in (0, 0.25, 0.5, 0.75, 1)] == [10, 6, 2, 2, 2]
    assert Schedule(1, 3).at(0.5) == 2


def test_soft_dice_is_the_dice_of_the_metrics_where_the_network_is_sure():
    generator = torch.Generator().manual_seed(0)
    labels, said = (torch.randint(0, 3, (2, 8, 8), generator=generator) for _ in range(2))
    sure = 50 * F.one_hot(said, 3).movedim(-1, 1).float()
    expected = np.mean([metrics.dice(labels == k, said == k) for k in (1, 2)])
    assert 1 - float(soft_dice_loss(sure, labels)) == pytest.approx(expected, abs=1e-5)
    assert float(soft_dice_loss(sure, said)) == pytest.approx(0, abs=1e-6)


def test_soft_dice_of_volumes_has_a_gradient():
    logits = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    soft_dice_loss(logits, torch.randint(0, 3, (2, 4, 4, 4))).backward()
    assert logits.grad.abs().sum() > 0


def test_forgiving_huber_by_hand():
    a = torch.tensor([0.0, 0.005, -0.005, 0.05, -0.1, 0.3, -1.0])
    expected = torch.tensor([0.0, 0.0, 0.0, 0.00125, 0.005, 0.1 * (0.3 - 0.05), 0.1 * (1 - 0.05)])
    torch.testing.assert_close(forgiving_huber(a, alpha=0.1, dead=0.01), expected)


def test_forgiving_huber_is_torchs_huber_without_the_dead_zone():
    a = torch.randn(50)
    expected = F.huber_loss(a, torch.zeros_like(a), delta=0.3, reduction="none")
    torch.testing.assert_close(forgiving_huber(a, alpha=0.3, dead=0.0), expected)


def test_a_shifted_thin_skull_costs_less_than_none():
    skull = torch.full((1, 1, 16, 16), -1.0)
    skull[..., 7] = 1.0
    beside, none = skull.roll(1, 3), torch.full_like(skull, -1.0)
    assert F.l1_loss(beside, skull) > F.l1_loss(none, skull)  # L1 would rather have no skull at all
    assert misregistration(beside, skull) < misregistration(none, skull)
    assert misregistration(skull, skull) == 0


def test_misregistration_is_not_lifted_by_noise_and_sees_dark_and_bright_alike():
    torch.manual_seed(0)
    noise = 0.05 * torch.randn(1, 1, 64, 64)
    level = torch.linspace(-0.1, 0.1, 21)
    cost = torch.stack([misregistration(torch.full_like(noise, float(value)), noise) for value in level])
    assert abs(level[cost.argmin()]) < 0.015  # the maximum alone would say 1.5 x 0.05
    image, other = torch.randn(2, 1, 1, 9, 9)
    torch.testing.assert_close(misregistration(-image, -other), misregistration(image, other))


def test_misregistration_keeps_the_rim_and_has_a_gradient():
    image = torch.full((1, 1, 6, 6), -1.0, requires_grad=True)
    assert misregistration(image, torch.full((1, 1, 6, 6), -1.0)) == 0  # padding must not let zeros in
    misregistration(image, torch.zeros(1, 1, 6, 6)).backward()
    assert image.grad.abs().sum() > 0


def test_r1_penalty_is_half_the_squared_slope_at_real_examples():
    real = torch.randn(5, 3)
    flat_and_steep = losses.r1_penalty(lambda x: 2 * x[:, 0] + x[:, 1] ** 2, real, torch.zeros(5, 3), weight=3.0)
    assert flat_and_steep.item() == pytest.approx(1.5 * (4 + 4 * real[:, 1] ** 2).mean().item(), rel=1e-5)
