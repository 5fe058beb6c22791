"""Medical images from noise: lung nodules, and slices of heads that are asked for by height and tumour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from scipy.stats import ks_2samp
from torch import Tensor, nn

from mrctlib.course.fidelity import density_and_coverage, nearer_to_training, told_apart
from mrctlib.course.lesions import BOX, SHAPE
from mrctlib.course.models import Model, Networks
from mrctlib.course.networks.gan import GrainyGenerator
from mrctlib.course.nodules import draw_nodules, lung_hu, measure_nodules, scan
from mrctlib.course.shelf.game import game, steady_discriminator, steady_projection
from mrctlib.phantom.head import draw_patient
from mrctlib.runtime import digest
from mrctlib.training.gan import make

LEARNED, PATIENTS = 6000, 120  # nodules and patients to learn from
STRANGERS = 40  # patients to measure with
COUNT = 2500  # images on each side of a measure, of which 500 test the reader
LATENT, WIDTH = 64, 16  # length of the noise; channels
SIZES, RATE = {"latent": LATENT, "width": WIDTH}, 1e-3


# ------------------------------------------------------------------------------------------------ nodules


class ScannedLung(nn.Module):
    """Noise (N, LATENT) to nodules (N, 1, 56, 56): a network draws the lung, and the scanner, whose blur and noise are
    known, makes the image. Bora et al. 2018 (AmbientGAN)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = GrainyGenerator(LATENT, WIDTH, 7)

    def lung(self, noise: Tensor) -> Tensor:
        """In HU, without blur or noise; a little beyond the window, as calcium is."""
        return lung_hu(1.3 * self.layers(noise))

    def forward(self, noise: Tensor) -> Tensor:
        return scan(self.lung(noise))


def learn_nodules(
    networks: Networks, folder: Path, seed: int, phases: Sequence[tuple[int, float]] = ((12_000, RATE),)
) -> dict[str, Any]:
    """A nodule from noise alone."""
    images = draw_nodules(LEARNED, seed=0)[0]
    data = {"name": f"{LEARNED} drawn nodules", "digest": digest(images)}
    return game(networks, folder, seed, SIZES, images, phases=phases) | {"data": data}


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


# ------------------------------------------------------------------------------------------------ heads

HEAD_SIZE, HEIGHTS, BRIGHTEST = 64, 6, 3.0  # pixels; heights that can be asked for; white matter being 1


def tell(heights: Tensor, tumours: Tensor) -> Tensor:
    """Heights (N,) from 0 to 5 and tumours (N,), 0 or 1, to conditions (N, 8): two one-hot rows side by side."""
    return torch.cat([F.one_hot(heights, HEIGHTS), F.one_hot(tumours, 2)], 1).float()


def healthy_slices(seed: int, cases: Iterable[int]) -> Tensor:
    """Twelve T2-weighted slices of each phantom patient, low to high, (N, 1, 64, 64), pixels of 2.7 mm; white matter
    near 1, air 0."""
    volumes = [torch.from_numpy(draw_patient(seed, case, SHAPE).mr("t2w"))[BOX] / 1000 for case in cases]  # (R, A, S)
    return torch.stack(volumes).permute(0, 3, 2, 1).flip(2, 3)[:, :, 8:72].reshape(-1, 1, HEAD_SIZE, HEAD_SIZE)


def give_tumours(slices: Tensor, times: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Every slice `times` over, each with a new tumour or none: images (N, 1, 64, 64) from -1 to 1, heights, tumours.

    A tumour is a soft bright disc of 16 to 24 mm radius, its middle up to 11 mm off one point to the right.
    """
    generator, count = torch.Generator().manual_seed(seed), times * len(slices)
    tumours = torch.randint(2, (count,), generator=generator)
    middles = torch.tensor([32, 26]) + torch.randint(-4, 5, (count, 2), generator=generator)  # row and column
    radii = 6 + 3 * torch.rand(count, 1, 1, generator=generator)
    rows, columns = (torch.arange(HEAD_SIZE) - middles[:, axis, None] for axis in (0, 1))
    share = ((radii - torch.hypot(rows[:, :, None].float(), columns[:, None].float())) / 2 + 0.5).clamp(0, 1)
    share = (share * tumours[:, None, None])[:, None]
    images = slices.repeat(times, 1, 1, 1) * (1 - share) + 2.8 * share
    return images.clamp(0, BRIGHTEST) * 2 / BRIGHTEST - 1, torch.arange(12).repeat(count // 12) // 2, tumours


class ToldGenerator(nn.Module):
    """Noise (N, LATENT) and conditions (N, 8) to slices (N, 1, 64, 64), with grain."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = GrainyGenerator(LATENT + HEIGHTS + 2, WIDTH, HEAD_SIZE // 8)

    def forward(self, noise: Tensor, conditions: Tensor) -> Tensor:
        return self.layers(torch.cat([noise, conditions], 1))


def learn_heads(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """A slice of a head, at the height and with the tumour that are asked for."""
    images, *told = give_tumours(healthy_slices(1, range(PATIENTS)), 2, seed=1)
    data = {"name": f"slices of {PATIENTS} phantom patients", "digest": digest(images)}
    return game(networks, folder, seed, SIZES, images, tell(*told), phases=[(6000, RATE)]) | {"data": data}


def heads_made(networks: Networks, seed: int) -> dict[str, float]:
    """Can a small network tell made from real, of patients whom no network knew; how much of these is covered?

    Coverage is measured on means of 4 x 4 pixels. Floors: slices of other patients in place of made ones.
    """
    real, heights, tumours = give_tumours(healthy_slices(seed + 2, range(STRANGERS)), 1, seed=seed)
    others, _, _ = give_tumours(healthy_slices(seed + 3, range(STRANGERS)), 1, seed=seed + 1)
    noise = torch.randn(len(real), LATENT, generator=torch.Generator().manual_seed(seed))
    found = {}
    for name, images in {"": make(networks["generator"], noise, tell(heights, tumours)), "_floor": others}.items():
        right, total = told_apart(real, images, held_out=len(real) // 5, seed=seed)
        found[f"reader_error{name}"] = 1 - right / total
        found[f"coverage{name}"] = density_and_coverage(coarse(real), coarse(images))[1]
    return found


MODELS = {
    "nodules": Model(
        "a GAN of lung nodules (after Chuquicusma et al. 2018) that leaves the scanner's noise to the scanner",
        lambda: {"generator": ScannedLung(), "discriminator": steady_discriminator(24, 7)},
        partial(learn_nodules, phases=((12_000, RATE), (4000, RATE / 5))), nodules_made,
    ),
    "nodules_noise_learned": Model(
        "the same with a generator that has to learn the noise as well: a control",
        lambda: {"generator": GrainyGenerator(LATENT, WIDTH, 7), "discriminator": steady_discriminator(WIDTH, 7)},
        learn_nodules, nodules_made,
    ),
    "heads": Model(
        "a GAN of head slices that is told height and tumour, with grain, projection and an R1 penalty",
        lambda: {"generator": ToldGenerator(), "discriminator": steady_projection(HEIGHTS + 2, HEAD_SIZE, WIDTH)},
        learn_heads, heads_made,
    ),
}  # fmt: skip
