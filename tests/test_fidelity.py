"""Distances between sets of features, against closed forms and another library; shares of classes."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from mrctlib.course.fidelity import (
    class_shares,
    density_and_coverage,
    frechet_distance,
    kl_divergence,
    nearer_to_training,
    normal_frechet_distance,
    told_apart,
)
from mrctlib.runtime import InputError


def cloud(count=300, dimensions=5, shift=0.0, width=1.0, seed=0):
    drawn = torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))
    mixed = drawn @ torch.randn(dimensions, dimensions, generator=torch.Generator().manual_seed(99))
    return shift + width * mixed


def test_frechet_distance_is_that_of_scipy():
    a, b = cloud(seed=1), cloud(200, shift=0.5, width=1.5, seed=2)
    covariances = [np.cov(x.double().numpy(), rowvar=False) for x in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    means = (a.double().mean(0) - b.double().mean(0)).numpy()
    expected = means @ means + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_is_that_of_torchmetrics():
    fid = pytest.importorskip("torchmetrics.image.fid")
    features = torch.nn.Flatten()  # images of 1 x 1 pixels and five channels are their own features
    features.num_features = 5
    metric = fid.FrechetInceptionDistance(feature=features, input_img_size=(5, 1, 1), normalize=True)
    metric.set_dtype(torch.float64)
    a, b = cloud(seed=1).sigmoid(), cloud(shift=0.5, seed=2).sigmoid()
    metric.update(a.view(-1, 5, 1, 1).double(), real=True)
    metric.update(b.view(-1, 5, 1, 1).double(), real=False)
    assert frechet_distance(a, b) == pytest.approx(float(metric.compute()), rel=1e-3)


def test_frechet_distance_of_known_normal_distributions():
    one, four = torch.eye(3, dtype=torch.float64), 4 * torch.eye(3, dtype=torch.float64)
    zero, two = torch.zeros(3, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64)
    # |difference of means|^2 + the sum of (difference of standard deviations)^2
    assert normal_frechet_distance(zero, one, two, four) == pytest.approx(3 * 4 + 3 * 1)


def test_frechet_distance_is_zero_for_the_same_and_symmetric():
    a, b = cloud(seed=1), cloud(shift=1, seed=2)
    assert abs(frechet_distance(a, a)) < 1e-4
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, b) > frechet_distance(a, cloud(seed=2))


def test_fewer_examples_than_features_give_a_finite_distance():
    assert math.isfinite(frechet_distance(cloud(4, 20, seed=1), cloud(5, 20, seed=2)))


def test_density_and_coverage_of_real_against_real_are_near_one():
    density, coverage = density_and_coverage(cloud(500, seed=1), cloud(500, seed=2))
    assert 0.85 < density < 1.15 and coverage > 0.9


def test_collapse_has_density_but_no_coverage():
    real = cloud(500, seed=1)
    centre = real.mean(0) + 0.01 * cloud(500, seed=2)
    density, coverage = density_and_coverage(real, centre)
    assert density > 1 and coverage < 0.3
    assert density_and_coverage(real, real + 100) == (0.0, 0.0)


def test_density_and_coverage_by_hand():
    """Real at 0, 1, 3 with one neighbour: balls of radius 1, 1 and 2. Fakes at 0.5 (in two balls) and 10 (in none)."""
    real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.5], [10.0]])
    density, coverage = density_and_coverage(real, fake, neighbours=1)
    assert density == pytest.approx(2 / 2) and coverage == pytest.approx(2 / 3)


def test_class_shares():
    shares = class_shares(torch.tensor([0, 2, 2, 1]), 4)
    assert shares.tolist() == [0.25, 0.25, 0.5, 0.0]


def test_kl_divergence_is_that_of_scipy():
    p, q = (torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    p, q = p / p.sum(), q / q.sum()
    assert kl_divergence(p, q) == pytest.approx(scipy.stats.entropy(p.numpy(), q.numpy()))
    assert kl_divergence(p, p) == pytest.approx(0)


def test_a_class_that_is_never_made_costs_nothing_but_the_other_way_is_infinite():
    made, real = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])
    assert kl_divergence(made, real) == pytest.approx(math.log(2))
    assert kl_divergence(real, made) == math.inf


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 4)),
        (torch.zeros(5), torch.zeros(5, 1)),
        (torch.zeros(1, 3), torch.zeros(5, 3)),
    ],
)
def test_bad_features(a, b):
    with pytest.raises(InputError, match="give"):
        frechet_distance(a, b)
    with pytest.raises(InputError, match="give"):
        density_and_coverage(a, b)


@pytest.mark.parametrize("neighbours", [0, 300])
def test_bad_number_of_neighbours(neighbours):
    with pytest.raises(InputError, match="neighbours"):
        density_and_coverage(cloud(seed=1), cloud(seed=2), neighbours)


def test_a_reader_tells_what_differs_and_guesses_where_nothing_does():
    draw = torch.Generator().manual_seed(0)
    real, others = torch.randn(2, 300, 1, 16, 16, generator=draw)
    right, total = told_apart(real, others, held_out=100, steps=60)
    assert total == 200 and 70 <= right <= 130
    smooth = torch.nn.functional.avg_pool2d(others, 3, 1, 1)
    assert told_apart(real, smooth, held_out=100, steps=60)[0] > 190


def test_copies_are_nearer_to_what_they_were_copied_from():
    training, others, new = cloud(seed=1), cloud(seed=2), cloud(seed=3)
    assert nearer_to_training(training + 0.01, training, others) == 1
    assert 0.4 < nearer_to_training(new, training, others) < 0.6
    with pytest.raises(InputError, match="300 training examples and 299 others"):
        nearer_to_training(new, training, others[1:])
