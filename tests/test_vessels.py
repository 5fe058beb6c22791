"""Drawn arteries: their form, and the measures that a GAN is held to."""

import math

import pytest
import torch

from mrctlib.data.vessels import (
    POINTS,
    SPACING_MM,
    draw_vessels,
    from_headings,
    narrowest,
    to_headings,
    tortuosity,
    turning_degrees,
)


@pytest.fixture(scope="module")
def vessels():
    return draw_vessels(400, 0)


def test_form(vessels):
    assert vessels.shape == (400, 4, POINTS)
    assert torch.equal(vessels[:, :3, 0], torch.zeros(400, 3))
    assert 0 < vessels[:, 3].min() and vessels[:, 3].max() < 2.3
    steps = vessels[:, :3].diff(dim=2).norm(dim=1)
    assert steps.max() <= SPACING_MM + 1e-4 and (steps.amin(1) > 3.5).all(), "no vessel ends before its last point"


def test_seeds(vessels):
    assert torch.equal(vessels, draw_vessels(400, 0))
    assert not torch.equal(vessels, draw_vessels(400, 1))


def test_a_third_has_a_narrow_place(vessels):
    assert 0.25 < (narrowest(vessels) < 0.75).float().mean() < 0.42


def test_there_and_back(vessels):
    back = from_headings(to_headings(vessels))
    assert torch.allclose(back[:, 3], vessels[:, 3], rtol=1e-4)
    assert (back[:, :3] - vessels[:, :3]).norm(dim=1).median() < 1.0  # chords are a little shorter than 4 mm
    long = to_headings(vessels) * torch.tensor([5.0, 5, 5, 1])[:, None]
    assert torch.allclose(from_headings(long), back, atol=1e-4), "only the direction counts"


def test_measures_of_a_half_circle():
    angle = torch.linspace(0, math.pi, POINTS)
    circle = torch.stack([angle.cos(), angle.sin(), 0 * angle, 0 * angle + 1])[None]
    assert float(tortuosity(circle)) == pytest.approx(math.pi / 2, rel=1e-3)
    assert float(turning_degrees(circle)) == pytest.approx(180 / (POINTS - 1), rel=1e-3)
    assert float(narrowest(circle)) == pytest.approx(1)
    circle[:, 3, 10] = 0.4
    assert float(narrowest(circle)) == pytest.approx(0.4)
