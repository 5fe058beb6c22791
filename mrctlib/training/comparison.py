"""Many ways from MR to CT on one cohort, with one split and one budget.

The rows follow a thesis that compared a GAN, a WGAN and a CycleGAN on T2-weighted MR and CT of 100 patients, with a
U-Net as the generator of all, and what it proposed to try next. Its split is kept. Its 150 epochs at a learning rate
of 2e-5 are not: every method takes the steps, the batches and the rates of the tier, with Adam in place of Nadam. Also
left out are its noise on the labels and the linear output of its WGAN.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from mrctlib import dose, metrics
from mrctlib.data.cohorts import Case, SliceSet, TurnedCase, find_cases, slice_set, split_cases
from mrctlib.data.planes import turned
from mrctlib.data.volumes import HU_HALF_WIDTH, write_volume
from mrctlib.losses import Schedule
from mrctlib.runtime import InputError, Tier, peak_memory_mb, tier, whole_file
from mrctlib.training.games import Recipe, cohort_slices, recipe_for
from mrctlib.training.synthesis import synthesize
from mrctlib.training.translation import TranslationTraining

SHARES = (78, 11, 11)
"""Patients to train on, to watch during the training, and to test at the end, in percent: those of the thesis."""

STEPS = {"cpu": 420, "gpu": 200_000}  # the budget by tier: the same for every method
LOOKS = 10  # how often a training is watched
COMPARISON_FILE = "comparison.json"
ROW, SYNTHETIC = "row.json", "sct"  # in the folder of each run
AVERAGED = (
    "mae_hu", "psnr_db", "ssim", "bone_dice", "dose_target_percent", "dose_worst_percent",
    "seconds_per_epoch", "parameters", "peak_memory_mb",
)  # fmt: skip

# As the thesis set its CycleGAN up: gan + 10 cycle + identity, and nothing that tells it what a CT is like.
_THESIS = {name: Schedule(0, 0) for name in ("mind", "background", "profile")} | {
    "gan": Schedule(1, 1),
    "cycle": Schedule(10, 10),
    "identity": Schedule(1, 1),
    "sees_depth": False,
    "noise": 0.0,
}
_GENERATORS = {  # width and depth by tier
    "unet": {"cpu": {"base": 12, "depth": 3}, "gpu": {"base": 64, "depth": 4}},
    "resnet": {"cpu": {"base": 12, "depth": 4}, "gpu": {"base": 64, "depth": 9}},
}
GENERATORS = tuple(_GENERATORS)


@dataclass(frozen=True)
class Method:
    """One row of the comparison: a recipe, and the planes in which a network each is trained and then averaged."""

    recipe: Recipe
    planes: tuple[str, ...] = ("axial",)


def methods(here: Tier, generator: str = "unet", *, seed: int = 0, steps: int | None = None) -> dict[str, Method]:
    """All methods by name, with one generator and one number of steps, by default `STEPS` of the tier.

    Raises:
        InputError: an unknown generator.
    """
    if generator not in _GENERATORS:
        raise InputError(f"generator {generator!r}: choose one of {', '.join(GENERATORS)}")
    steps = steps or STEPS[here.name]
    shape = {"generator": generator, "watch_every": max(1, steps // LOOKS)} | _GENERATORS[generator][here.name]

    def of(model: str, **changes: object) -> Recipe:
        return replace(recipe_for(model, here, seed=seed, steps=steps), **shape | changes)

    return {
        "GAN": Method(of("gan")),
        "GAN, paired": Method(of("gan-paired")),
        "GAN that sees the MR": Method(of("gan-sees-mr")),
        "WGAN, clipped": Method(of("wgan")),
        "WGAN-GP": Method(of("wgan-gp")),
        "CycleGAN of the thesis": Method(of("cyclegan", **_THESIS)),
        "CycleGAN, cured": Method(of("cyclegan")),
        "pix2pix": Method(of("pix2pix")),
        "supervised": Method(of("paired")),
        "supervised, 2.5-D": Method(of("paired"), ("axial", "coronal", "sagittal")),
    }


# ---------------------------------------------------------------------------------------------------- one run


def run(cohort: Path, out: Path, name: str, generator: str, seed: int, steps: int | None) -> dict:
    """Train and test one method: its row, which is also left in `out`. Goes on from checkpoints that lie there.

    The row holds means over the test patients (what `metrics.evaluate` and `dose.evaluate` give), what the training
    cost (the memory is that of the process, not of a GPU), and `progress`: at every look the step, the MAE in HU in
    the slices of the watched patients, and the correlation of the synthetic CT with its MR.
    """
    method = methods(tier(), generator, seed=seed, steps=steps)[name]
    training_cases, watched_cases, test_cases = split_cases(find_cases(cohort), SHARES)
    trained = {plane: _train(method.recipe, training_cases, watched_cases, plane, out) for plane in method.planes}
    scores = [_test(case, trained, out) for case in test_cases]
    networks = [network for t in trained.values() for network in (t.game.generators, t.game.discriminators)]
    row = {
        "method": name,
        "generator": generator,
        "seed": seed,
        "steps": method.recipe.steps,
        "tested": [case.name for case in test_cases],
        **{key: float(np.mean([score[key] for score in scores])) for key in scores[0]},
        "seconds_per_epoch": sum(_seconds_per_epoch(training) for training in trained.values()),
        "parameters": sum(p.numel() for network in networks for p in network.parameters()),
        "peak_memory_mb": round(peak_memory_mb()),
        "progress": [
            {key: look[key] for key in ("step", "mae_hu", "mr_correlation")}
            for look in trained[method.planes[0]].history
        ],
    }
    with whole_file(out / ROW, force=True) as part:
        part.write_text(json.dumps(row, indent=2) + "\n")
    return row


def _train(
    recipe: Recipe, cases: Sequence[Case], watched: Sequence[Case], plane: str, out: Path
) -> TranslationTraining:
    """A network for the slices of one plane, looked at now and then in the slices of other patients."""
    cases, watched = ([TurnedCase(case.folder, plane) for case in part] for part in (cases, watched))
    _, mr, ct = cohort_slices(cases, recipe)
    pair = [slice_set(watched, kind, recipe.spacing, recipe.size) for kind in ("mr", "ct")]
    return TranslationTraining(recipe, mr, ct, tier(), out / plane).run(lambda training: _look(training, *pair))


@torch.no_grad()
def _look(training: TranslationTraining, mr: SliceSet, ct: SliceSet) -> None:
    """Write the error in slices of other patients into the history, and keep one slice as a picture."""
    fakes = torch.cat([training.averaged(part.to(training.device)).float().cpu() for part in mr.images.split(32)])
    fakes = torch.where(mr.masks, fakes, -1.0)  # outside the body a synthetic CT is air: see `synthesize`
    now = training.history[-1]
    now["mae_hu"] = float((fakes - ct.images)[mr.masks].abs().mean()) * HU_HALF_WIDTH
    training.save()
    shown = int((mr.heights - 0.6).abs().argmin())  # above the eyes
    np.save(training.folder / f"look_{now['step']:06d}.npy", fakes[shown, 0].numpy())


def _test(case: Case, trained: dict[str, TranslationTraining], out: Path) -> dict[str, float]:
    """The scores of one patient, whose synthetic CT is the mean of what the networks of all planes make; it is kept."""
    mr, ct, body = case.pair()
    made = []
    for plane, training in trained.items():
        there = turned(mr, plane), turned(mr.like(body), plane).data > 0.5
        made.append(turned(synthesize(training.averaged, *there, training.recipe), plane, back=True).data)
    sct = mr.like(np.mean(made, 0))
    write_volume(sct, out / SYNTHETIC / f"{case.name}.nii.gz", force=True)
    target = dose.central_target(body, mr.spacing)
    return metrics.evaluate(ct.data, sct.data, body) | dose.evaluate(ct.data, sct.data, body, target, mr.spacing)


def _seconds_per_epoch(training: TranslationTraining) -> float:
    """Seconds of training for as many slices as there are MR slices."""
    return training.seconds / training.step * len(training.game.slices["mr"]) / training.recipe.batch


# ---------------------------------------------------------------------------------------------------- all runs


def compare(
    cohort: str | Path, out: str | Path, generators: Sequence[str], seeds: Sequence[int], steps: int | None = None
) -> list[dict]:
    """The rows of all methods for these generators and seeds, each run in a process of its own, so that its memory can
    be told. A row that lies in `out` from before is not run again.

    Raises:
        InputError: a cohort too small to split, an unknown generator, or rows in `out` of another cohort or number of
            steps; before anything is trained.
    """
    cohort, out, here = Path(cohort), Path(out), tier()
    parts = split_cases(find_cases(cohort), SHARES)
    if not all(parts):
        raise InputError(f"{cohort}: too few cases to train on some, watch some and test some; 10 are enough")
    plan = {
        (name, generator, seed): {"steps": method.recipe.steps, "tested": [case.name for case in parts[2]]}
        for seed in seeds
        for generator in generators
        for name, method in methods(here, generator, steps=steps).items()
    }
    rows = {key: _row_from_before(run_folder(out, *key), expected) for key, expected in plan.items()}
    context = multiprocessing.get_context("spawn")  # a fresh process: its peak memory is that of one method
    for number, (key, row) in enumerate(rows.items(), 1):
        print(f"{number} of {len(rows)}: {', '.join(map(str, key))}", file=sys.stderr)
        if row is None:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                rows[key] = pool.submit(run, cohort, run_folder(out, *key), *key, steps).result()
    return list(rows.values())


def _row_from_before(folder: Path, expected: dict) -> dict | None:
    path = folder / ROW
    if not path.exists():
        return None
    row = json.loads(path.read_text())
    if other := [f"{key} {row[key]}, not {value}" for key, value in expected.items() if row[key] != value]:
        raise InputError(f"{path}: is from another comparison ({'; '.join(other)}); name another --out")
    return row


def run_folder(out: Path, name: str, generator: str, seed: int) -> Path:
    """Where a run keeps its checkpoints, its row and its synthetic CTs."""
    return out / f"{name.replace(',', '').replace(' ', '_')}-{generator}-{seed}"


def stored(name: str) -> bytes:
    """A file of the comparison that comes with the library: "comparison.json", "figure.png" or "progression.png"."""
    return (files("mrctlib") / "results" / name).read_bytes()


def drifted(row: dict) -> float:
    """The error at the end of a training over the best on the way: 1 for a training that ended at its best."""
    errors = [look["mae_hu"] for look in row["progress"]]
    return errors[-1] / min(errors)


def summary(rows: Sequence[dict]) -> list[dict]:
    """One row for each method and generator: the mean over the seeds, the lowest and the highest MAE."""
    groups = dict.fromkeys((row["method"], row["generator"]) for row in rows)
    table = []
    for method, generator in groups:
        group = [row for row in rows if (row["method"], row["generator"]) == (method, generator)]
        means = {key: float(np.mean([row[key] for row in group])) for key in AVERAGED}
        errors = [row["mae_hu"] for row in group]
        table.append(
            {"method": method, "generator": generator, "seeds": len(group)}
            | means
            | {"mae_low": min(errors), "mae_high": max(errors), "drift": max(map(drifted, group))}
        )
    return table
