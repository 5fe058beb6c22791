"""What came after GANs: a diffusion model of digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrctlib.course.diffusion import guided, learn_to_denoise, sample
from mrctlib.course.exercises.lab5 import control
from mrctlib.course.judge import DigitJudge
from mrctlib.course.models import Model, Networks, load
from mrctlib.course.networks.diffusion import Denoiser
from mrctlib.course.shelf.digits import COUNT, against_real, from_where, mnist

NONE = 10  # the class that says nothing
DIGITS = {"steps": 12_000, "batch": 64, "rate": 1e-3, "average": 0.999, "forget": 0.15, "none": NONE}


def draw_digits(network: Denoiser, classes: Tensor, seed: int, *, steps: int, weight: float = 1.0) -> Tensor:
    """Digits of the classes asked for, (N, 1, 28, 28) from -1 to 1."""
    noise = torch.randn(len(classes), 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    parts = zip(noise.split(500), classes.split(500), strict=True)
    return torch.cat([sample(guided(network, told, NONE, weight), part, steps)[-1] for part, told in parts])


def learn_digits(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """MNIST's digits; in a part of the steps without being told which."""
    digits = mnist()
    images, told = 2 * digits.train_images - 1, digits.train_classes
    history = learn_to_denoise(networks["denoiser"], images, told, **DIGITS, seed=seed, name="digits", folder=folder)
    return {"recipe": DIGITS, "seconds": history[-1]["seconds"]} | from_where(digits)


def digits_made(networks: Networks, seed: int) -> dict[str, float]:
    """As the GANs are measured, with more and with fewer steps; and with guidance: do they obey, do they still vary?"""
    random, known = torch.Generator().manual_seed(seed), load("digit_judge")[0]
    judge: DigitJudge = known["judge"]
    asked = mnist().train_classes[torch.randperm(60_000, generator=random)[:COUNT]]
    found: dict[str, float] = {}
    for steps, weight in ((50, 1.0), (20, 1.0), (10, 1.0), (5, 1.0), (20, 3.0)):
        images = (draw_digits(networks["denoiser"], asked, seed, steps=steps, weight=weight) + 1) / 2
        mark = "" if steps == 50 else f"_{steps}_steps" + ("_guided" if weight > 1 else "")
        measured = against_real(images, known) | {"control": control(asked, judge.classes(images))}
        found |= {f"{key}{mark}": value for key, value in measured.items()}
    return found


MODELS = {
    "digits_diffusion": Model(
        "a denoiser of digits that is told the class, or not (after Ho et al. 2020)",
        lambda: {"denoiser": Denoiser(48, 1, classes=NONE)}, learn_digits, digits_made,
    ),
}  # fmt: skip
