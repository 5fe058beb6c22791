"""MR to CT at 128 pixels of 2 mm, learned from phantom heads that vary, so that a real head can be tried."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from mrctlib import metrics
from mrctlib.course.models import THREE, Model, Networks
from mrctlib.course.synthetic import by_tissue
from mrctlib.data.cohorts import Case, find_cases, real_pair
from mrctlib.data.volumes import Volume
from mrctlib.losses import OFF, Schedule
from mrctlib.phantom.head import Patient, draw_patient, write_cohort
from mrctlib.phantom.imaging import Variation
from mrctlib.runtime import digest, tier
from mrctlib.training.recipe import CycleRecipe, Recipe, build_generator, cohort_slices
from mrctlib.training.synthesis import synthesize
from mrctlib.training.translation import TranslationTraining

SHAPE, CONTRAST = (128, 128, 96), "mprage"  # voxels of 2 mm
CASES, UNSEEN = 60, 4  # patients to learn from, and to measure on
_SIZES = {
    "generator": "unet", "depth": 4, "spacing": 2.0, "size": 128, "batch": 4, "constant": 0.4, "average": 0.995,
    "watch_every": 100,
}  # fmt: skip
PAIRED = Recipe(**_SIZES, model="paired", base=16, rate=1e-3, steps=2000)
CURED = CycleRecipe(
    **_SIZES, base=8, rate=2e-3, steps=2800, discriminator_base=12, discriminator_rate=7e-4, sees_depth=True,
    gan=Schedule(1, 0.2), cycle=Schedule(5, 5), identity=OFF, mind=Schedule(4, 4),
    background=Schedule(5, 5), profile=Schedule(20, 10), noise=0.03,
)  # fmt: skip
WITHOUT_CYCLE = replace(CURED, cycle=OFF)
WITHOUT_PROFILE = replace(CURED, profile=OFF, mind=OFF, gan=Schedule(5, 5), cycle=Schedule(5, 2))
HIDING = replace(WITHOUT_PROFILE, cycle=Schedule(20, 20), noise=0.0)


def cohort_of(folder: Path) -> list[Case]:
    """The patients, drawn once for all models, beside the folder of a model."""
    cohort = folder.parents[1] / "cohort_mr_to_ct"
    if not cohort.exists():
        write_cohort(cohort, CASES, shape=SHAPE, contrast=CONTRAST, vary=True)
    return find_cases(cohort)


def learn(recipe: Recipe, networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """A translation training."""
    recipe = replace(recipe, seed=seed)
    mr, ct = cohort_slices(cohort_of(folder), recipe, folder)
    training = TranslationTraining(recipe, mr, ct, tier(), folder).run()
    for name, network in networks.items():
        trained = training.averaged if name == "to_ct" else training.game.generators[name]
        network.load_state_dict(trained.state_dict())
    data = {"name": f"{CASES} phantom heads that vary", "digest": digest(mr.stored_images, ct.stored_images)}
    return {"recipe": recipe.to_json(), "data": data, "seconds": training.seconds}


def stranger(seed: int, case: int) -> Patient:
    """A phantom head of the same ranges whom no model has met."""
    return draw_patient(seed + 1000, case, SHAPE, variation=Variation())


def pair_of(patient: Patient) -> tuple[Volume, Volume, np.ndarray]:
    """(MR, CT, body) of a phantom head."""
    images = patient.mr(CONTRAST), patient.ct()
    return *(Volume(image, patient.space.affine) for image in images), patient.body


def translated(recipe: Recipe, networks: Networks, seed: int) -> dict[str, float]:
    """Errors in unseen phantom heads, means over these; and in the real pair, where it is here."""

    def errors(mr: Volume, ct: Volume, body: np.ndarray) -> dict[str, float]:
        pair = ct.data, synthesize(networks["to_ct"], mr, body, recipe).data, body
        return {"mae_hu": metrics.mae(*pair), "bone_dice": metrics.bone_dice(*pair)} | by_tissue(*pair)

    rows = [errors(*pair_of(stranger(seed, case))) for case in range(UNSEEN)]
    found = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    template = real_pair()
    return found | ({f"real_{key}": value for key, value in errors(*template.pair()).items()} if template else {})


def model(what: str, recipe: Recipe, *networks: str, seeds: tuple[int, ...] = THREE) -> Model:
    def build() -> dict[str, nn.Module]:
        return {name: build_generator(recipe) for name in networks}

    return Model(what, build, partial(learn, recipe), partial(translated, recipe), seeds)


MODELS = {
    "paired_mr_to_ct": model("a U-Net that learned from pairs", PAIRED, "to_ct", seeds=(0,)),
    "cyclegan_mr_to_ct": model("a CycleGAN with all helps that need no pairs", CURED, "to_ct", "to_mr"),
    "gan_mr_to_ct": model("a GAN with the same helps and no way back", WITHOUT_CYCLE, "to_ct", seeds=(0,)),
    "cyclegan_without_profile": model(
        "a CycleGAN with neither profile nor MIND, whose adversary has to do it", WITHOUT_PROFILE, "to_ct", "to_mr"
    ),
    "without_adversary": model(
        "the same without its adversary: a control", replace(WITHOUT_PROFILE, gan=OFF), "to_ct", seeds=(0,)
    ),
    "gan_without_profile": model("the same without the way back", replace(WITHOUT_PROFILE, cycle=OFF), "to_ct"),
    "cyclegan_hiding": model(
        "a CycleGAN whose cycle must be exact, without noise", HIDING, "to_ct", "to_mr", seeds=(0,)
    ),
}
