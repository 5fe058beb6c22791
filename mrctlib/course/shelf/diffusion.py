"""What came after GANs: diffusion models of digits, and of CT seen from MR."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from mrctlib import metrics
from mrctlib.course.diffusion import guided, learn_to_denoise, sample
from mrctlib.course.exercises.lab5 import control
from mrctlib.course.judge import DigitJudge
from mrctlib.course.models import Model, Networks, load
from mrctlib.course.networks.diffusion import Denoiser
from mrctlib.course.shelf.digits import COUNT, against_real, from_where, mnist
from mrctlib.course.shelf.translation import PAIRED, UNSEEN, cohort_of, pair_of, stranger
from mrctlib.data.cohorts import real_pair
from mrctlib.runtime import digest
from mrctlib.training.recipe import cohort_slices
from mrctlib.training.synthesis import synthesize

NONE = 10  # the class that says nothing
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


# ------------------------------------------------------------------------------------------------ MR to CT

TRANSLATION = {"steps": 5000, "batch": 8, "rate": 1e-3, "average": 0.995}
STEPS = 10  # in which a CT is made


class Translator(nn.Module):
    """MR slices (N, 1, H, W) to CT slices, by a denoiser that looks at the MR: the mean of so many samples.

    bridge: the way begins at the MR and not at noise, so all samples would be one.
    """

    def __init__(self, denoiser: Denoiser, *, steps: int = STEPS, samples: int = 1, bridge: bool = False) -> None:
        super().__init__()
        self.denoiser, self.steps, self.samples, self.bridge = denoiser, steps, samples, bridge
        self.random = torch.Generator().manual_seed(0)

    def forward(self, mr: Tensor) -> Tensor:
        made = []
        for _ in range(self.samples):
            start = mr if self.bridge else torch.randn(mr.shape, generator=self.random).to(mr)
            made.append(sample(lambda x, t: self.denoiser(x, t, mr), start, self.steps)[-1])
        return torch.stack(made).mean(0)


def learn_to_translate(networks: Networks, folder: Path, seed: int, *, bridge: bool = False) -> dict[str, Any]:
    """From the same patients as the models of `shelf.translation`, in pairs."""
    mr, ct = cohort_slices(cohort_of(folder), PAIRED, folder)
    denoiser = networks["denoiser"]
    given = {**TRANSLATION, "bridge": bridge, "seed": seed, "folder": folder, "name": "MR to CT"}
    history = learn_to_denoise(denoiser, ct.images.float(), mr.images.float(), **given)
    data = {
        "name": f"{len(mr)} slices of phantom heads that vary",
        "digest": digest(mr.stored_images, ct.stored_images),
    }
    return {"recipe": TRANSLATION | {"bridge": bridge}, "data": data, "seconds": history[-1]["seconds"]}


def false_findings(sct: np.ndarray, ct: np.ndarray, body: np.ndarray) -> int:
    """How many bright specks (4 voxels or more, above 150 HU) lie deep in the head where the CT has none."""
    brain = (ndimage.distance_transform_edt(body, sampling=2.0) > 25) & (ct > -50) & (ct < 100)
    specks, count = ndimage.label((sct > 150) & ndimage.binary_erosion(brain, iterations=2))
    return int((np.bincount(specks.ravel(), minlength=count + 1)[1:] >= 4).sum())


def slices_translated(networks: Networks, seed: int, *, bridge: bool = False) -> dict[str, float]:
    """Errors in unseen heads, and specks in the brain of each: in so many steps, and of the mean of five samples."""
    ways = {"": {"steps": STEPS}, "_one_step": {"steps": 1}, "_three_steps": {"steps": 3}}
    ways |= {} if bridge else {"_mean_of_5": {"steps": STEPS, "samples": 5}}
    heads = [pair_of(stranger(seed, case)) for case in range(UNSEEN)]
    found: dict[str, float] = {}
    for name, way in ways.items():
        network = Translator(networks["denoiser"], bridge=bridge, **way)
        made = [synthesize(network, mr, body, PAIRED).data for mr, _, body in heads]
        pairs = [(ct.data, sct, body) for (_, ct, body), sct in zip(heads, made, strict=True)]
        found[f"mae_hu{name}"] = float(np.mean([metrics.mae(*pair) for pair in pairs]))
        found[f"bone_dice{name}"] = float(np.mean([metrics.bone_dice(*pair) for pair in pairs]))
        found[f"specks{name}"] = float(np.mean([false_findings(sct, ct, body) for ct, sct, body in pairs]))
        if template := real_pair():
            mr, ct, body = template.pair()
            found[f"real_mae_hu{name}"] = metrics.mae(ct.data, synthesize(network, mr, body, PAIRED).data, body)
    return found


def translator(what: str, bridge: bool) -> Model:
    return Model(
        what, lambda: {"denoiser": Denoiser(24, 3, seen=1)},
        partial(learn_to_translate, bridge=bridge), partial(slices_translated, bridge=bridge),
    )  # fmt: skip


MODELS = {
    "digits_diffusion": Model(
        "a denoiser of digits that is told the class, or not (after Ho et al. 2020)",
        lambda: {"denoiser": Denoiser(48, 1, classes=NONE)}, learn_digits, digits_made,
    ),
    "diffusion_mr_to_ct": translator("a denoiser of CT that looks at the MR (after Saharia et al. 2022)", bridge=False),
    "bridge_mr_to_ct": translator("the same, on the way from the MR to the CT (after Liu et al. 2023)", bridge=True),
}  # fmt: skip
