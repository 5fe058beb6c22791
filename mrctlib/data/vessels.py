"""Drawn coronary-like arteries: a centreline in 3-D with a radius at each point."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

POINTS = 32
SPACING_MM = 4.0
"""Distance along the centreline from each point to the next: every vessel is 124 mm long."""

HEART_RADIUS_MM = 45.0


def draw_vessels(count: int, seed: int) -> Tensor:
    """Arteries over a round heart, (count, 4, 32) in mm: x, y, z of the centreline from the ostium on, and the radius.

    Each starts at the origin, winds about a great arc, and tapers from 1.5 to 2.3 mm to less than half; one in three
    has a narrow place of 30 to 60% of the radius.
    """
    rng = np.random.default_rng([seed, count])

    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (count, 1))

    def wave(t: np.ndarray, turns: float) -> np.ndarray:
        return np.sin(2 * np.pi * (turns * t + uniform(0, 1)))

    t = np.linspace(0, 1, 20 * POINTS)
    along = uniform(3.1, 3.4) * t  # angles seen from the middle of the heart, along the arc and aside from it
    waves = ((0.5, 0.35), (1, 0.18), (2, 0.08), (4, 0.03))  # turns on the way, standard deviation of the amplitude
    aside = sum(rng.normal(0, width, (count, 1)) * wave(t, turns) for turns, width in waves)
    depth = HEART_RADIUS_MM * rng.normal(1, 0.05, (count, 1)) * (1 + 0.03 * wave(t, 3))
    paths = depth[:, None] * np.stack([np.cos(along) * np.cos(aside), np.sin(along) * np.cos(aside), np.sin(aside)], 1)
    s = np.linspace(0, 1, POINTS)
    radius = uniform(1.5, 2.3) * np.exp(-uniform(0.8, 1.2) * s)
    narrowing = uniform(0.4, 0.7) * np.exp(-(((s - uniform(0.2, 0.8)) / 0.06) ** 2))
    radius = radius * (1 - (uniform(0, 1) < 1 / 3) * narrowing)
    points = _evenly(paths - paths[:, :, :1])
    return torch.from_numpy(np.concatenate([points, radius[:, None]], 1)).float()


def _evenly(paths: np.ndarray) -> np.ndarray:
    """(N, 3, many) to (N, 3, 32): points at equal distances along each path."""
    steps = np.linalg.norm(np.diff(paths, axis=2), axis=1)
    travelled = np.concatenate([np.zeros((len(paths), 1)), np.cumsum(steps, 1)], 1)
    places = SPACING_MM * np.arange(POINTS)
    return np.stack(
        [[np.interp(places, run, axis) for axis in path] for path, run in zip(paths, travelled, strict=True)]
    )


def to_headings(vessels: Tensor) -> Tensor:
    """(N, 4, 32) to the same: at each point the unit vector to the next (the last repeats), and log of the radius."""
    steps = vessels[:, :3].diff(dim=2)
    steps = torch.cat([steps, steps[:, :, -1:]], 2)
    return torch.cat([F.normalize(steps, dim=1), vessels[:, 3:].log()], 1)


def from_headings(headings: Tensor) -> Tensor:
    """Back: vectors of any length, (N, 4, 32), become steps of 4 mm each, from the origin on."""
    steps = SPACING_MM * F.normalize(headings[:, :3, :-1], dim=1)
    return torch.cat([F.pad(steps.cumsum(2), (1, 0)), headings[:, 3:].exp()], 1)


def tortuosity(vessels: Tensor) -> Tensor:
    """Length of the centreline over the distance between its ends, (N,); 1 for a straight one.

    vessels: (N, 4, L), or their centrelines alone, (N, 3, L).
    """
    ends = vessels[:, :3, -1] - vessels[:, :3, 0]
    return vessels[:, :3].diff(dim=2).norm(dim=1).sum(1) / ends.norm(dim=1)


def turning_degrees(vessels: Tensor) -> Tensor:
    """Mean angle between each step of the centreline and the next, (N,), in degrees. vessels: (N, 4, L)."""
    steps = vessels[:, :3].diff(dim=2)
    return F.cosine_similarity(steps[:, :, 1:], steps[:, :, :-1], dim=1).clamp(-1, 1).acos().rad2deg().mean(1)


def narrowest(vessels: Tensor, reach: int = 3) -> Tensor:
    """Least share of the radius left, (N,): each radius over the mean of those `reach` points before and after."""
    radius = vessels[:, 3]
    neighbours = (radius[:, : -2 * reach] + radius[:, 2 * reach :]) / 2
    return (radius[:, reach:-reach] / neighbours).amin(1)
