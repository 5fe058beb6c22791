"""What came after GANs: diffusion models of digits, and of CT seen from MR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrctlib import metrics
from mrctlib.course.diffusion import guided, learn_to_denoise, sample
from mrctlib.course.exercises.lab5 import control
from mrctlib.course.judge import DigitJudge
from mrctlib.course.models import Model, Networks, load
from mrctlib.course.networks.diffusion import Denoiser
from mrctlib.course.shelf.digits import against_real, from_where, mnist
from mrctlib.course.shelf.translation import PAIRED, UNSEEN, cohort_of, pair_of, stranger
from mrctlib.course.synthetic import false_specks
from mrctlib.data.slices import MIN_BODY_SHARE
from mrctlib.data.volumes import denormalise_ct, normalise_mr
from mrctlib.runtime import digest
from mrctlib.training.recipe import cohort_slices

NONE = 10  # the class that says nothing
WAYS = {  # of drawing: steps, weight of the guidance
    "": (20, 1.0), "_10_steps": (10, 1.0), "_5_steps": (5, 1.0), "_guided": (10, 2.0),
}  # fmt: skip
DIGITS = {"steps": 6000, "batch": 64, "rate": 1e-3, "average": 0.999, "forget": 0.15, "none": NONE}


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
    known = load("digit_judge")[0]
    judge: DigitJudge = known["judge"]
    asked = judge[-1](known["real"].learned).argmax(1)  # as often as in real ones
    found: dict[str, float] = {}
    for mark, (steps, weight) in WAYS.items():
        images = (draw_digits(networks["denoiser"], asked, seed, steps=steps, weight=weight) + 1) / 2
        measured = against_real(images, known) | {"control": control(asked, judge.classes(images))}
        found |= {f"{key}{mark}": value for key, value in measured.items()}
    return found


# ------------------------------------------------------------------------------------------------ MR to CT

TRANSLATION = {"steps": 4000, "batch": 4, "rate": 1e-3, "average": 0.995}
STEPS, EVERY = 10, 3  # in which a CT is made; slices of a head that are measured


def translate(denoiser: Denoiser, mr: Tensor, seed: int = 0, steps: int = STEPS) -> Tensor:
    """A CT that could belong to MR slices (N, 1, H, W), both from -1 to 1: one for each seed."""
    noise = torch.randn(mr.shape, generator=torch.Generator().manual_seed(seed))
    return sample(lambda x, t: denoiser(x, t, mr), noise, steps)[-1]


def learn_to_translate(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """From the same patients as the models of `shelf.translation`, in pairs."""
    mr, ct = cohort_slices(cohort_of(folder), PAIRED, folder)
    given = {**TRANSLATION, "seed": seed, "folder": folder, "name": "MR to CT"}
    history = learn_to_denoise(networks["denoiser"], ct.images, mr.images, **given)
    data = {"name": f"{len(mr)} slices of phantom heads that vary", "digest": digest(mr.stored_images)}
    return {"recipe": TRANSLATION, "data": data, "seconds": history[-1]["seconds"]}


def unseen_slices(case: int, every: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Every so many-th slice of a head whom no model has met: MR (N, 1, 128, 128) from -1 to 1, CT in HU and body,
    (N, 128, 128)."""
    mr, ct, body = pair_of(stranger(0, case))
    seen = [s for s in range(0, body.shape[2], every) if body[:, :, s].mean() > MIN_BODY_SHARE]
    slices = [np.moveaxis(part[:, :, seen], 2, 0) for part in (normalise_mr(mr.data, body), ct.data, body)]
    return torch.from_numpy(slices[0])[:, None], *slices[1:]


def slices_translated(networks: Networks, seed: int) -> dict[str, float]:
    """Errors in slices of unseen heads: of a sample in 1, 3 and `STEPS` steps, of the mean of five, of regression."""
    denoiser, paired, found = networks["denoiser"], load("paired_mr_to_ct")[0]["to_ct"], {}
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "": lambda mr: translate(denoiser, mr, seed),
        "_three_steps": lambda mr: translate(denoiser, mr, seed, 3),
        "_one_step": lambda mr: translate(denoiser, mr, seed, 1),
        "_mean_of_5": lambda mr: torch.stack([translate(denoiser, mr, seed + n) for n in range(5)]).mean(0),
        "_regression": torch.no_grad()(paired),
    }
    heads = [unseen_slices(case, EVERY) for case in range(UNSEEN)]
    for name, way in ways.items():
        made = [(ct, denormalise_ct(way(mr)[:, 0], body), body) for mr, ct, body in heads]
        found[f"mae_hu{name}"] = float(np.mean([metrics.mae(*head) for head in made]))
        found[f"bone_dice{name}"] = float(np.mean([metrics.bone_dice(*head) for head in made]))
        specks = [false_specks(*parts, spacing=(2, 2)) for head in made for parts in zip(*head, strict=True)]
        found[f"specks{name}"] = sum(specks) / len(made)
    return found


MODELS = {
    "digits_diffusion": Model(
        "a denoiser of digits that is told the class, or not (after Ho et al. 2020)",
        lambda: {"denoiser": Denoiser(48, 1, classes=NONE)}, learn_digits, digits_made,
    ),
    "diffusion_mr_to_ct": Model(
        "a denoiser of CT that looks at the MR (after Saharia et al. 2022)",
        lambda: {"denoiser": Denoiser(16, 3, seen=1)}, learn_to_translate, slices_translated,
    ),
}  # fmt: skip
