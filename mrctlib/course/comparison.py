"""Many ways from MR to CT on one cohort, with one split, one budget, and one kind of discriminator.

Some rows follow a thesis of 2020 that compared a GAN, a WGAN and a CycleGAN on T2-weighted MR and CT of 100 patients,
with a U-Net as the generator of all. Its split is kept. Its 150 epochs at a learning rate of 2e-5 are not, nor its
Nadam, the noise on its labels, its discriminators of whole slices and the linear output of its WGAN. The other rows
take the CycleGAN of lab 8 apart: each lacks one thing that it has.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from mrctlib import metrics, plots
from mrctlib.course.one_way import OneWay, OneWayRecipe
from mrctlib.course.synthetic import by_tissue, dose_off, shine_through
from mrctlib.data.cohorts import Case, find_cases, split_cases
from mrctlib.data.slices import SliceSet, slice_set
from mrctlib.data.volumes import HU_HALF_WIDTH, Volume, read_volume, write_volume
from mrctlib.losses import OFF, Schedule
from mrctlib.runtime import InputError, Tier, peak_memory_mb, tier, whole_file
from mrctlib.training.recipe import AdversarialRecipe, Recipe, cohort_slices, recipe_for
from mrctlib.training.supervised import predict
from mrctlib.training.synthesis import synthesize
from mrctlib.training.translation import TranslationTraining

SHARES = (78, 11, 11)
"""Patients to train on, to watch during the training, and to test at the end, in percent: those of the thesis."""

LOOKS = 10  # how often a training is watched
COMPARISON_FILE = "comparison.json"
ROW, SYNTHETIC = "row.json", "sct"  # in the folder of each run
AVERAGED = (
    "mae_hu", "mae_air_hu", "mae_soft_tissue_hu", "mae_bone_hu", "bone_dice", "ssim", "psnr_db", "shine_hu",
    "dose_off_percent", "parameters", "peak_memory_mb",
)  # fmt: skip

# As the thesis set its CycleGAN up: gan + 10 cycle + identity, and nothing that tells it what a CT is like.
_THESIS = {"gan": Schedule(1, 1), "cycle": Schedule(10, 10), "identity": Schedule(1, 1), "noise": 0.0}
_THESIS |= {"mind": OFF, "background": OFF, "profile": OFF, "sees_depth": False}
_WHOLE = "CycleGAN, all helps"
# The CycleGAN of lab 8 without one of its parts.
_WITHOUT = {
    "no adversary": {"gan": OFF}, "no way back": {"cycle": OFF}, "no MIND": {"mind": OFF},
    "no profile": {"profile": OFF}, "no depth": {"sees_depth": False}, "no noise": {"noise": 0.0},
}  # fmt: skip
_GENERATORS = {  # width and depth by tier
    "unet": {"cpu": {"base": 8, "depth": 3}, "gpu": {"base": 24, "depth": 4}},
    "resnet": {"cpu": {"base": 8, "depth": 4}, "gpu": {"base": 24, "depth": 6}},
}
GENERATORS = tuple(_GENERATORS)
WITH_RESNET = ("CycleGAN of the thesis", _WHOLE, "supervised")  # does a ResNet copy less?
RATES = (1 / 3, 1, 3)  # times the learning rates: which of them a method takes was tried on the watched patients


# ---------------------------------------------------------------------------------------------------- the methods


def untuned(here: Tier, generator: str, *, seed: int = 0, steps: int | None = None) -> dict[str, Recipe]:
    """The methods whose learning rates are to be tuned, by name, with one generator and one number of steps, by default
    that of lab 8.

    Raises:
        InputError: an unknown generator.
    """
    if generator not in _GENERATORS:
        raise InputError(f"generator {generator!r}: choose one of {', '.join(GENERATORS)}")
    full, paired = (recipe_for(model, here, seed=seed, steps=steps) for model in ("cyclegan", "paired"))
    shared = {"generator": generator, "steps": full.steps, "watch_every": max(1, full.steps // LOOKS)}
    shared |= here.pick(**_GENERATORS[generator])
    full, paired = replace(full, **shared), replace(paired, **shared)
    common = {field.name: getattr(full, field.name) for field in fields(AdversarialRecipe)} | {"model": "one way"}
    wasserstein = common | {"wasserstein": True, "critic_steps": 4}
    return {
        "GAN": OneWayRecipe(**common),
        "WGAN, clipped": OneWayRecipe(**wasserstein, clip=0.01),
        "WGAN-GP": OneWayRecipe(**wasserstein, slope=True),
        "CycleGAN of the thesis": replace(full, **_THESIS),
        _WHOLE: full,
        "pix2pix": OneWayRecipe(**common, l1=100.0),  # Isola et al. 2017
        "supervised": paired,
    }


def methods(here: Tier, generator: str = "unet", *, seed: int = 0, steps: int | None = None) -> dict[str, Recipe]:
    """All methods by name, at the learning rates that did best, as `benchmarks/comparison_rates.py` found: for the
    CycleGAN of lab 8 without one of its parts, those of the whole. With a ResNet, only the methods of `WITH_RESNET`.

    Raises:
        InputError: an unknown generator.
    """
    tried = tried_rates()
    found = {
        name: at_rates(recipe, float(min(tried[name], key=tried[name].get)))
        for name, recipe in untuned(here, generator, seed=seed, steps=steps).items()
    }
    if generator == "resnet":
        return {name: found[name] for name in WITH_RESNET}
    return found | {name: replace(found[_WHOLE], **part) for name, part in _WITHOUT.items()}


def tried_rates() -> dict[str, dict[str, float]]:
    """For each method the error in the watched patients, by what its learning rates were multiplied with."""
    return json.loads(stored("rates.json"))["errors"]


def at_rates(recipe: Recipe, times: float) -> Recipe:
    """The recipe with its learning rates multiplied."""
    rates = {key: times * getattr(recipe, key) for key in ("rate", "discriminator_rate") if hasattr(recipe, key)}
    return replace(recipe, **rates)


# ---------------------------------------------------------------------------------------------------- one run


def run(cohort: Path, out: Path, name: str, generator: str, seed: int, steps: int | None) -> dict:
    """Train and test one method: its row, which is also left in `out`. Goes on from checkpoints that lie there.

    The row holds means over the test patients (who have some of the tissue), what the training cost (the memory is that
    of the process, not of a GPU), and `progress`: at every look the step, the MAE in HU in the slices of the watched
    patients, and the correlation of the synthetic CT with its MR.
    """
    recipe = methods(tier(), generator, seed=seed, steps=steps)[name]
    training_cases, watched_cases, test_cases = split_cases(find_cases(cohort), SHARES)
    training = train(recipe, training_cases, watched_cases, out)
    scores = [_test(case, training, out) for case in test_cases]
    players = training.game.generators, training.game.discriminators
    row = {"method": name, "generator": generator, "seed": seed} | _asked(recipe, test_cases, cohort_digest(cohort))
    row |= {key: float(np.nanmean([score[key] for score in scores])) for key in scores[0]} | {
        "seconds": training.seconds,
        "parameters": sum(p.numel() for network in players for p in network.parameters()),
        "peak_memory_mb": round(peak_memory_mb()),
        "progress": [{key: look[key] for key in ("step", "mae_hu", "mr_correlation")} for look in training.history],
    }
    with whole_file(out / ROW, force=True) as part:
        part.write_text(json.dumps(row, indent=2) + "\n")
    return row


def train(recipe: Recipe, cases: Sequence[Case], watched: Sequence[Case], out: Path) -> TranslationTraining:
    """A training that is looked at now and then in the slices of other patients."""
    mr, ct = cohort_slices(cases, recipe)
    seen, answers = (slice_set(watched, kind, recipe.spacing, recipe.size) for kind in ("mr", "ct"))

    def look(averaged: nn.Module) -> dict[str, float]:
        """The error in slices of other patients; one of them is kept as a picture."""
        # Outside the body a synthetic CT is air: see `synthesize`.
        fakes = torch.where(seen.masks, predict(averaged, seen.images, 32), -1.0)
        np.save(out / f"look_{training.step:06d}.npy", fakes[_shown(seen), 0].numpy())
        return {"mae_hu": float((fakes - answers.images)[seen.masks].abs().mean()) * HU_HALF_WIDTH}

    out.mkdir(parents=True, exist_ok=True)
    game = OneWay if isinstance(recipe, OneWayRecipe) else None
    training = TranslationTraining(recipe, mr, ct, tier(), out, game, look)
    return training.run()


def _shown(slices: SliceSet) -> int:
    """The slice that is kept as a picture: above the eyes."""
    return int((slices.heights - 0.6).abs().argmin())


def _test(case: Case, training: TranslationTraining, out: Path) -> dict[str, float]:
    """The scores of one patient, whose synthetic CT is kept."""
    mr, ct, body = case.pair()
    sct = synthesize(training.averaged, mr, body, training.recipe)
    write_volume(sct, out / SYNTHETIC / f"{case.name}.nii.gz", force=True)
    shine = {
        key: shine_through(mr.data, image.data, ct.data, body, mr.spacing)
        for key, image in {"shine_hu": sct, "shine_real_hu": ct}.items()
    }
    found = metrics.evaluate(ct.data, sct.data, body) | by_tissue(ct.data, sct.data, body) | shine
    return found | {"dose_off_percent": dose_off(ct.data, sct.data, body, mr.spacing)}


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
    data = cohort_digest(cohort)
    plan = {
        (name, generator, seed): _asked(recipe, parts[2], data)
        for seed in seeds
        for generator in generators
        for name, recipe in methods(here, generator, seed=seed, steps=steps).items()
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
    try:
        row = json.loads(path.read_text())
        other = [f"{key} {row[key]}, not {value}" for key, value in expected.items() if row[key] != value]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no row of a comparison; delete it, or name another --out") from error
    if other:
        raise InputError(f"{path}: is from another comparison ({other[0]}); name another --out")
    return row


def _asked(recipe: Recipe, tested: Sequence[Case], cohort: str) -> dict:
    """What a row is about: one that differs in any of this is another row."""
    told = json.loads(json.dumps(recipe.to_json()))
    return {"steps": recipe.steps, "tested": [c.name for c in tested], "cohort": cohort, "recipe": told}


def cohort_digest(folder: Path) -> str:
    """16 hexadecimal digits of all images in a cohort."""
    total = hashlib.sha256()
    for path in (case.path(kind) for case in find_cases(folder) for kind in ("mr", "ct", "mask")):
        total.update(path.read_bytes() if path else b"")
    return total.hexdigest()[:16]


def run_folder(out: Path, name: str, generator: str, seed: int) -> Path:
    """Where a run keeps its checkpoints, its row and its synthetic CTs."""
    return out / f"{name.replace(',', '').replace(' ', '_')}-{generator}-{seed}"


def stored(name: str) -> bytes:
    """A file of `results`, which comes with the library: "comparison.json", "rates.json" or a picture."""
    return (files("mrctlib.course") / "results" / name).read_bytes()


def on_gpus() -> list[dict]:
    """What `make gpu` found on each card whose file came into the library; empty if nobody has run it yet."""
    folder = files("mrctlib.course") / "results" / "gpu"
    found = sorted(folder.iterdir(), key=lambda path: path.name) if folder.is_dir() else []
    return [json.loads(path.read_text("utf-8")) for path in found if path.name.endswith(".json")]


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


# ---------------------------------------------------------------------------------------------------- for people


def report(cohort: Path, out: Path, rows: Sequence[dict], about: dict) -> str:
    """Write comparison.json and four figures (of the first generator) into `out`; returns the table in words."""
    with whole_file(out / COMPARISON_FILE, force=True) as part:
        part.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    figures = _figures(cohort, out, [row for row in rows if row["generator"] == rows[0]["generator"]])
    for name, figure in figures.items():
        with whole_file(out / name, force=True) as part:
            part.write_bytes(plots.png(figure))
    lines = [
        f"{row['method']:<24} {row['generator']:<7} {row['mae_hu']:>7.1f} HU ({row['mae_low']:.1f} to"
        f" {row['mae_high']:.1f})  bone Dice {row['bone_dice']:.3f}  last over best {row['drift']:.2f}"
        for row in summary(rows)
    ]
    return "\n".join([*lines, f"{out}: {len(rows)} runs in {COMPARISON_FILE}; look at {', '.join(figures)}"])


def _figures(folder: Path, out: Path, rows: list[dict]) -> dict[str, Figure]:
    """For the rows of one generator: a test patient by each method, a slice over the training (seed 0), the curves."""
    runs = {row["method"]: run_folder(out, row["method"], row["generator"], 0) for row in rows}
    _, watched, tested = split_cases(find_cases(folder), SHARES)
    mr, ct, body = tested[0].pair()
    made = {name: read_volume(run / SYNTHETIC / f"{tested[0].name}.nii.gz") for name, run in runs.items()}
    recipe = Recipe.from_json(rows[0]["recipe"])
    ends = [slice_set(watched, kind, recipe.spacing, recipe.size) for kind in ("mr", "ct")]
    first, last = (slices.images[_shown(slices), 0].numpy() for slices in ends)
    looks = {name: sorted(runs[name].glob("look_*.npy"))[::3] for name in runs if name not in _WITHOUT}
    return {
        "figure.png": side_by_side(mr, ct, {name: made[name] for name in made if name not in _WITHOUT}, body),
        "parts.png": side_by_side(mr, ct, {name: made[name] for name in made if name in (_WHOLE, *_WITHOUT)}, body),
        "progression.png": plots.slices_in_rows(
            {name: [first, *map(np.load, paths), last] for name, paths in looks.items()}, width=1.3
        ),
        "drift.png": progression([row for row in rows if row["method"] not in _WITHOUT]),
    }


def side_by_side(mr: Volume, ct: Volume, made: Mapping[str, Volume], body: np.ndarray, height: float = 0.45) -> Figure:
    """One axial slice of the MR, of the CT, and of what each method makes of the MR, with its error in the slice: in a
    bone window, and below it in a brain window."""
    low, high = np.flatnonzero(body.any((0, 1)))[[0, -1]]
    at, columns = int(low + height * (high - low)), 5
    figure, axes = plots.new_figure(2 * -(-(2 + len(made)) // columns), columns, width=2.2, height=2.7)
    for axis in axes.flat:
        axis.set_axis_off()
    aspect = mr.spacing[1] / mr.spacing[0]
    for number, (name, volume) in enumerate(({"MR": mr, "CT": ct} | dict(made)).items()):
        block, column = divmod(number, columns)
        for row, window in enumerate((plots.BONE_WINDOW, plots.BRAIN_WINDOW)):
            seen = plots.mr_window(mr.data, body) if volume is mr else window
            plots.picture(axes[2 * block + row, column], plots.plane(volume, "axial", at), seen, aspect=aspect)
        error = np.abs(volume.data - ct.data)[:, :, at][body[:, :, at]].mean()
        axes[2 * block, column].set_title(name if number < 2 else f"{name}\n{error:.0f} HU", fontsize=11)
    return figure


def progression(rows: Sequence[Mapping]) -> Figure:
    """How the runs of a comparison went, a line for each seed: the error in slices of other patients and the
    correlation with the MR, over the steps."""
    figure, axes = plots.new_figure(1, 2, width=5.2, height=4.4)
    colours = dict(zip(tried_rates(), plots.COLOURS, strict=False))  # a method has the same in all figures
    for row in rows:
        steps, label = [look["step"] for look in row["progress"]], None if row["seed"] else row["method"]
        for axis, key in zip(axes[0], ("mae_hu", "mr_correlation"), strict=True):
            axis.plot(steps, [look[key] for look in row["progress"]], color=colours[row["method"]], label=label)
    axes[0, 0].set(xlabel="step", ylabel="mean absolute error (HU)", yscale="log")
    low, high = axes[0, 0].get_ylim()
    ticks = [tick for tick in (50, 75, 100, 150, 200, 300, 500, 800) if low < tick < high]
    axes[0, 0].set_yticks(ticks, map(str, ticks))
    axes[0, 0].minorticks_off()
    axes[0, 1].set(xlabel="step", ylabel="correlation with the MR")
    axes[0, 1].legend(fontsize=10, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
