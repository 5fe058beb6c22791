"""Medical images from noise: lung nodules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from scipy.stats import ks_2samp
from torch import Tensor, nn

from mrctlib.course.fidelity import told_apart
from mrctlib.course.models import Model, Networks
from mrctlib.course.networks.gan import Discriminator, GrainyGenerator
from mrctlib.course.nodules import draw_nodules, measure_nodules
from mrctlib.losses import r1_penalty
from mrctlib.runtime import digest
from mrctlib.training.gan import make, play

COUNT = 2500  # images on each side of a measure, of which 500 test the reader
LATENT, WIDTH = 64, 16  # length of the noise; channels
GAME = {"steps": 12_000, "batch": 16, "rate": 1e-3, "betas": (0.0, 0.99), "average": 0.998, "watch_every": 500}


def steady_discriminator() -> nn.Sequential:
    """Without batch normalisation, which would mix the images whose slopes the R1 penalty looks at one by one."""
    return nn.Sequential(*(layer for layer in Discriminator(1, WIDTH, 7) if not isinstance(layer, nn.BatchNorm2d)))


def learn_nodules(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """A nodule from noise alone."""
    images, _ = draw_nodules(6000, seed=0)
    players = networks["generator"], networks["discriminator"]
    history = play(*players, images, noise=LATENT, seed=seed, name="nodules", folder=folder, penalty=r1_penalty, **GAME)
    for player in players:
        player.cpu()
    data = {"name": f"{len(images)} drawn nodules", "digest": digest(images)}
    return {
        "recipe": GAME | {"penalty": "R1", "latent": LATENT, "width": WIDTH},
        "data": data,
        "seconds": history[-1]["seconds"],
    }


def nodules_made(networks: Networks, seed: int) -> dict[str, float]:
    """Does a small network tell made from real, and are sizes and densities those of real ones? Floors: real ones."""
    noise = torch.randn(COUNT, LATENT, generator=torch.Generator().manual_seed(seed))
    made, others = make(networks["generator"], noise), draw_nodules(COUNT, seed=seed + 1000)[0]
    real, _ = draw_nodules(COUNT, seed=seed + 2000)
    found = {}
    for name, images in {"": made, "_floor": others}.items():
        right, total = told_apart(real, images, held_out=500, seed=seed)
        gaps = [largest_gap(a, b) for a, b in zip(measure_nodules(real), measure_nodules(images), strict=True)]
        found |= {f"reader_error{name}": 1 - right / total, f"diameter_gap{name}": gaps[0]}
        found[f"density_gap{name}"] = gaps[1]
    return found


def largest_gap(a: Tensor, b: Tensor) -> float:
    """Between the cumulative shares of two sets of numbers, 0 to 1 (Kolmogorov and Smirnov); nan is left out."""
    return float(ks_2samp(a[a.isfinite()], b[b.isfinite()]).statistic)


MODELS = {
    "nodules": Model(
        "a GAN of lung nodules (after Chuquicusma et al. 2018), with grain and an R1 penalty",
        lambda: {"generator": GrainyGenerator(LATENT, WIDTH, 7), "discriminator": steady_discriminator()},
        learn_nodules, nodules_made,
    ),
}  # fmt: skip
