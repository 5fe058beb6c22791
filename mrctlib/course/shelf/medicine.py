"""Medical images from noise: lung nodules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from scipy.stats import ks_2samp
from torch import Tensor, nn

from mrctlib.course.fidelity import nearer_to_training, told_apart
from mrctlib.course.models import Model, Networks
from mrctlib.course.networks.gan import Discriminator
from mrctlib.course.nodules import draw_nodules, measure_nodules
from mrctlib.losses import r1_penalty
from mrctlib.runtime import digest
from mrctlib.training.gan import make, play

LEARNED = 6000  # nodules in the training set
COUNT = 2500  # images on each side of a measure, of which 500 test the reader
LATENT, WIDTH = 64, 16  # length of the noise; channels
GAME = {"steps": 12_000, "batch": 16, "rate": 1e-3, "betas": (0.0, 0.99), "average": 0.998, "watch_every": 500}


class Grain(nn.Module):
    """Adds noise of its own to every value of maps (N, channels, H, W), as strong in each channel as is learned.

    Fine texture, such as the noise of a scanner, cannot come from a few latent numbers. After Karras et al. 2019.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.full((channels, 1, 1), 0.1))

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.strength * torch.randn_like(maps)


class GrainyGenerator(nn.Sequential):
    """Noise (N, latent) to images (N, 1, 8 first, 8 first) from -1 to 1, with grain at every size.

    Sizes double by repeating pixels and a convolution, which leaves no checkerboard (Odena et al. 2016).
    """

    def __init__(self, latent: int, base: int, first: int) -> None:
        stages: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1))]
        stages += [nn.ConvTranspose2d(latent, 4 * base, first, bias=False), nn.BatchNorm2d(4 * base)]
        for width, wider in ((2 * base, 4 * base), (base, 2 * base)):
            stages += [Grain(wider), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2)]
            stages += [nn.Conv2d(wider, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        stages += [Grain(base), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2), nn.Conv2d(base, base, 3, padding=1)]
        super().__init__(*stages, Grain(base), nn.LeakyReLU(0.2), nn.Conv2d(base, 1, 3, padding=1), nn.Tanh())


def steady_discriminator() -> nn.Sequential:
    """Without batch normalisation, which would mix the images whose slopes the R1 penalty looks at one by one."""
    return nn.Sequential(*(layer for layer in Discriminator(1, WIDTH, 7) if not isinstance(layer, nn.BatchNorm2d)))


def learn_nodules(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """A nodule from noise alone."""
    images, _ = draw_nodules(LEARNED, seed=0)
    players = networks["generator"], networks["discriminator"]
    history = play(*players, images, noise=LATENT, seed=seed, name="nodules", folder=folder, penalty=r1_penalty, **GAME)
    for player in players:
        player.cpu()
    recipe = GAME | {"penalty": "R1", "latent": LATENT, "width": WIDTH}
    data = {"name": f"{LEARNED} drawn nodules", "digest": digest(images)}
    return {"recipe": recipe, "data": data, "seconds": history[-1]["seconds"]}


def nodules_made(networks: Networks, seed: int) -> dict[str, float]:
    """Can a small network tell made from real, are sizes and densities those of real ones, is any remembered?

    Floors: real ones in place of made ones.
    """
    noise = torch.randn(COUNT, LATENT, generator=torch.Generator().manual_seed(seed))
    training = draw_nodules(LEARNED, seed=0)[0][:COUNT]
    real, others, third = (draw_nodules(COUNT, seed=1000 * part + seed)[0] for part in (1, 2, 3))
    found = {}
    for name, images in {"": make(networks["generator"], noise), "_floor": others}.items():
        right, total = told_apart(real, images, held_out=500, seed=seed)
        gaps = [largest_gap(a, b) for a, b in zip(measure_nodules(real), measure_nodules(images), strict=True)]
        found |= {f"reader_error{name}": 1 - right / total}
        found |= {f"diameter_gap{name}": gaps[0], f"density_gap{name}": gaps[1]}
        found[f"nearer_to_training{name}"] = nearer_to_training(*map(coarse, (images, training, third)))
    return found


def largest_gap(a: Tensor, b: Tensor) -> float:
    """Between the cumulative shares of two sets of numbers, 0 to 1 (Kolmogorov and Smirnov); nan is left out."""
    return float(ks_2samp(a[a.isfinite()], b[b.isfinite()]).statistic)


def coarse(images: Tensor) -> Tensor:
    """Images without their grain, (N, 196): means of 4 x 4 pixels."""
    return F.avg_pool2d(images, 4).flatten(1)


MODELS = {
    "nodules": Model(
        "a GAN of lung nodules (after Chuquicusma et al. 2018), with grain and an R1 penalty",
        lambda: {"generator": GrainyGenerator(LATENT, WIDTH, 7), "discriminator": steady_discriminator()},
        learn_nodules, nodules_made,
    ),
}  # fmt: skip
