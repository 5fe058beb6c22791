"""How close made examples are to real ones, and how much of the real ones they cover. Sets of features, not pairs.

All work on features (N, D): what some network, which must be named beside every number, sees in N examples. All depend
on N: compare only numbers from equally many examples, and show the floor, real against other real ones, beside them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mrctlib.course.networks.classifiers import conv_bn_relu
from mrctlib.runtime import InputError, seed_everything
from mrctlib.training.supervised import accuracy, fit


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Between two sets of features (N, D) and (M, D), each taken for a normal distribution. Heusel et al. 2017.

    Raises:
        InputError: sets of other forms, or with fewer than two examples.
    """
    _check(a, b)
    a, b = a.double(), b.double()
    return normal_frechet_distance(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())


def normal_frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """|m_a - m_b|^2 + trace(C_a + C_b - 2 (C_a C_b)^(1/2)), means (D,), covariances (D, D). Dowson and Landau 1982."""
    # The trace of a root is the sum of the roots of the eigenvalues; rounding can make the smallest ones negative.
    roots = torch.linalg.eigvals(covariance_a @ covariance_b).real.clamp(min=0).sqrt()
    difference = ((mean_a - mean_b) ** 2).sum()
    return float(difference + covariance_a.trace() + covariance_b.trace() - 2 * roots.sum())


def density_and_coverage(real: Tensor, fake: Tensor, neighbours: int = 5) -> tuple[float, float]:
    """(density, coverage) of fakes (M, D) among real examples (N, D). Naeem et al. 2020, equations 3 and 4.

    Around each real example lies a ball that reaches to its k-th neighbour. Density: how many of these balls a fake is
    in, over k; near 1 for real ones, and it can exceed 1. Coverage: the share of balls with a fake in them, 0 to 1.
    """
    _check(real, fake)
    if not 1 <= neighbours < len(real):
        raise InputError(f"neighbours is {neighbours}: from 1 to {len(real) - 1}, one less than the real examples")
    reach = torch.cdist(real, real).kthvalue(neighbours + 1, dim=1).values  # the nearest is the example itself
    inside = torch.cdist(real, fake) < reach[:, None]
    return float(inside.sum(0).float().mean() / neighbours), float(inside.any(1).float().mean())


def class_shares(classes: Tensor, count: int) -> Tensor:
    """Share of each of `count` classes among classes (N,): (count,), adding up to 1."""
    return torch.bincount(classes, minlength=count).double() / len(classes)


def kl_divergence(p: Tensor, q: Tensor) -> float:
    """Sum of p log(p / q) of two sets of shares, in nats; 0 where they agree. Kullback and Leibler 1951."""
    return float(torch.special.xlogy(p, p).sum() - torch.special.xlogy(p, q).sum())


def told_apart(real: Tensor, other: Tensor, *, held_out: int, steps: int = 300, seed: int = 0) -> tuple[int, int]:
    """(right, total): how many images a small network sorts into real and other, after it has learned from the rest.

    Images (N, C, H, W); the first `held_out` of each side are for the test. Half right is guessing; beside it belongs
    the same with real against other real ones. A classifier two-sample test (Lopez-Paz and Oquab 2017).
    """
    seed_everything(seed, "reader")
    stages = [conv_bn_relu(a, b, stride=2) for a, b in ((real.shape[1], 8), (8, 16), (16, 16))]
    reader = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    sides = torch.cat([torch.zeros(len(real)), torch.ones(len(other))]).long()
    test = torch.cat([torch.arange(len(images)) < held_out for images in (real, other)])
    images = torch.cat([real, other])
    fit(reader, images[~test], sides[~test], steps=steps, batch=64, rate=3e-3, seed=seed, name="reader")
    return round(accuracy(reader, images[test], sides[test]) * 2 * held_out), 2 * held_out


def nearer_to_training(made: Tensor, training: Tensor, others: Tensor) -> float:
    """Share of the made ones (N, D) whose nearest training example is nearer than the nearest of as many others. Near
    0.5 nothing is remembered; new real examples say what chance is.

    Raises:
        InputError: not as many others as training examples.
    """
    if len(training) != len(others):
        raise InputError(f"{len(training)} training examples and {len(others)} others: give as many of both")
    to_training, to_others = (torch.cdist(made, known).amin(1) for known in (training, others))
    return float((to_training < to_others).float().mean())


def _check(a: Tensor, b: Tensor) -> None:
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise InputError(f"features are {tuple(a.shape)} and {tuple(b.shape)}: give (N, D) and (M, D), N and M over 1")
