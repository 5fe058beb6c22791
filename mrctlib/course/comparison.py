"""Many ways from MR to CT on one cohort, with one split and one budget.

The rows follow a thesis that compared a GAN, a WGAN and a CycleGAN on T2-weighted MR and CT of 100 patients, with a
U-Net as the generator of all, and what it proposed to try next. Its split is kept. Its 150 epochs at a learning rate
of 2e-5 are not: every method takes the steps, the batches and the rates of the tier, with Adam in place of Nadam. Also
left out are its noise on the labels and the linear output of its WGAN.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from mrctlib import metrics, plots
from mrctlib.course import dose
from mrctlib.course.one_way import OneWay, OneWayRecipe
from mrctlib.data.cohorts import Case, find_cases, split_cases
from mrctlib.data.slices import slice_set
from mrctlib.data.volumes import HU_HALF_WIDTH, Volume, read_volume, write_volume
from mrctlib.losses import Schedule
from mrctlib.runtime import InputError, Tier, peak_memory_mb, tier, whole_file
from mrctlib.training.recipe import AdversarialRecipe, Recipe, cohort_slices, recipe_for
from mrctlib.training.supervised import predict
from mrctlib.training.synthesis import synthesize
from mrctlib.training.translation import TranslationTraining

SHARES = (78, 11, 11)
"""Patients to train on, to watch during the training, and to test at the end, in percent: those of the thesis."""

STEPS = {"cpu": 420, "gpu": 4000}  # the budget by tier: the same for every method
LOOKS = 10  # how often a training is watched
DRIFTS = 1.1  # a training that ends with so many times its best error has drifted
# Some need no row of pictures: they look like another method, or stand still.
NOT_FILMED = ("GAN, paired", "WGAN, clipped", "pix2pix", "supervised, 2.5-D")
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
    "unet": {"cpu": {"base": 12, "depth": 3}, "gpu": {"base": 24, "depth": 4}},
    "resnet": {"cpu": {"base": 12, "depth": 4}, "gpu": {"base": 24, "depth": 6}},
}
GENERATORS = tuple(_GENERATORS)


# ---------------------------------------------------------------------------------------------------- the methods


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
    shared = {"steps": steps or here.pick(**STEPS), "generator": generator} | here.pick(**_GENERATORS[generator])
    shared["watch_every"] = max(1, shared["steps"] // LOOKS)
    cycle, paired = (replace(recipe_for(model, here, seed=seed), **shared) for model in ("cyclegan", "paired"))
    cycle = replace(cycle, discriminator_base=here.pick(cpu=32, gpu=24))

    def one_way(**kind: object) -> Recipe:
        common = {field.name: getattr(cycle, field.name) for field in fields(AdversarialRecipe)}
        # A Wasserstein critic should be ahead of its generator; any other, at the same rate, soon knows every fake.
        rates = {"rate": paired.rate, "discriminator_rate": paired.rate if "wasserstein" in kind else 2e-4}
        return OneWayRecipe(**common | rates | {"model": "one way"} | kind)

    return {
        "GAN": Method(one_way()),
        "GAN, paired": Method(one_way(pairs=True)),
        "GAN that sees the MR": Method(one_way(pairs=True, sees_mr=True)),
        "WGAN, clipped": Method(one_way(wasserstein=True, critic_steps=4, clip=0.001)),
        "WGAN-GP": Method(one_way(wasserstein=True, critic_steps=4, slope=True)),
        "CycleGAN of the thesis": Method(replace(cycle, **_THESIS)),
        "CycleGAN, cured": Method(cycle),
        "pix2pix": Method(one_way(pairs=True, l1=100.0, sees_mr=True, patches=True)),  # Isola et al. 2017
        "supervised": Method(paired),
        "supervised, 2.5-D": Method(paired, ("axial", "coronal", "sagittal")),
    }


# ---------------------------------------------------------------------------------------------------- one run


def turned(volume: Volume, plane: str, *, back: bool = False) -> Volume:
    """The same voxels with the axis across `plane` last, where axial slices have theirs; or back from there."""
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    order = [*(other for other in range(3) if other != axis), axis]
    if back:
        order = list(np.argsort(order))
    affine = volume.affine.copy()
    affine[:, :3] = affine[:, order]
    return replace(volume, data=volume.data.transpose(order), affine=affine)


@dataclass(frozen=True)
class TurnedCase(Case):
    """A patient turned so that the slices of `plane` lie where axial slices lie."""

    plane: str = "axial"

    def volume(self, kind: str) -> Volume:
        return turned(super().volume(kind), self.plane)


@dataclass(frozen=True)
class Trained:
    """What is left of a training: the generator to use, its recipe, its history and its cost."""

    generator: nn.Module
    recipe: Recipe
    history: list[dict]
    seconds_per_epoch: float  # an epoch: as many slices as there are MR slices
    parameters: int


def of_beams(
    ct: np.ndarray, sct: np.ndarray, mask: np.ndarray, target: np.ndarray, spacing: Sequence[float]
) -> dict[str, float]:
    """One case by name and unit: what `dose.range_error` gives, `dose_target_percent` and `dose_worst_percent`.

    The first of the two is how much the target's mean dose is off (above 0: the sCT promises too much), the second the
    largest difference anywhere in the body, without its sign. The beams are those that the two functions take if not
    told otherwise.

    Raises:
        InputError: as for `dose.range_error`.
    """
    difference = dose.dose_difference(ct, sct, mask, target, spacing)
    return dose.range_error(ct, sct, mask, target, spacing) | {
        "dose_target_percent": float(difference[np.asarray(target) > 0].mean()),
        "dose_worst_percent": float(np.abs(difference).max()),
    }


def run(cohort: Path, out: Path, name: str, generator: str, seed: int, steps: int | None) -> dict:
    """Train and test one method: its row, which is also left in `out`. Goes on from checkpoints that lie there.

    The row holds means over the test patients (what `metrics.evaluate` and `of_beams` give), what the training
    cost (the memory is that of the process, not of a GPU), and `progress`: at every look the step, the MAE in HU in
    the slices of the watched patients, and the correlation of the synthetic CT with its MR.
    """
    method = methods(tier(), generator, seed=seed, steps=steps)[name]
    training_cases, watched_cases, test_cases = split_cases(find_cases(cohort), SHARES)
    trained = {plane: _train(method.recipe, training_cases, watched_cases, plane, out) for plane in method.planes}
    scores = [_test(case, trained, out) for case in test_cases]
    row = {"method": name, "generator": generator, "seed": seed} | _asked(method, test_cases, cohort_digest(cohort))
    row |= {key: float(np.mean([score[key] for score in scores])) for key in scores[0]} | {
        "seconds_per_epoch": sum(training.seconds_per_epoch for training in trained.values()),
        "parameters": sum(training.parameters for training in trained.values()),
        "peak_memory_mb": round(peak_memory_mb()),
        "progress": [
            {key: look[key] for key in ("step", "mae_hu", "mr_correlation")}
            for look in trained[method.planes[0]].history
        ],
    }
    with whole_file(out / ROW, force=True) as part:
        part.write_text(json.dumps(row, indent=2) + "\n")
    return row


def _train(recipe: Recipe, cases: Sequence[Case], watched: Sequence[Case], plane: str, out: Path) -> Trained:
    """A network for the slices of one plane, looked at now and then in the slices of other patients."""
    # A sagittal slice has no left and no right: in the mirror it would look backwards.
    recipe = replace(recipe, mirror=plane != "sagittal")
    cases, watched = ([TurnedCase(case.folder, plane) for case in part] for part in (cases, watched))
    mr, ct = cohort_slices(cases, recipe)
    seen, answers = (slice_set(watched, kind, recipe.spacing, recipe.size) for kind in ("mr", "ct"))
    shown = int((seen.heights - 0.6).abs().argmin())  # above the eyes

    def look(averaged: nn.Module) -> dict[str, float]:
        """The error in slices of other patients; one of them is kept as a picture."""
        # Outside the body a synthetic CT is air: see `synthesize`.
        fakes = torch.where(seen.masks, predict(averaged, seen.images, 32), -1.0)
        np.save(out / plane / f"look_{training.step:06d}.npy", fakes[shown, 0].numpy())
        return {"mae_hu": float((fakes - answers.images)[seen.masks].abs().mean()) * HU_HALF_WIDTH}

    (out / plane).mkdir(parents=True, exist_ok=True)
    game = OneWay if isinstance(recipe, OneWayRecipe) else None
    training = TranslationTraining(recipe, mr, ct, tier(), out / plane, game, look)
    training.run()
    networks = (training.game.generators, training.game.discriminators)
    parameters = sum(p.numel() for network in networks for p in network.parameters())
    epoch = training.seconds / training.step * len(mr) / recipe.batch
    return Trained(training.averaged, recipe, training.history, epoch, parameters)


def _test(case: Case, trained: dict[str, Trained], out: Path) -> dict[str, float]:
    """The scores of one patient, whose synthetic CT is the mean of what the networks of all planes make; it is kept."""
    mr, ct, body = case.pair()
    made = []
    for plane, training in trained.items():
        there = turned(mr, plane), turned(mr.like(body), plane).data > 0.5
        made.append(turned(synthesize(training.generator, *there, training.recipe), plane, back=True).data)
    sct = mr.like(np.mean(made, 0))
    write_volume(sct, out / SYNTHETIC / f"{case.name}.nii.gz", force=True)
    target = dose.central_target(body, mr.spacing)
    return metrics.evaluate(ct.data, sct.data, body) | of_beams(ct.data, sct.data, body, target, mr.spacing)


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
        (name, generator, seed): _asked(method, parts[2], data)
        for seed in seeds
        for generator in generators
        for name, method in methods(here, generator, seed=seed, steps=steps).items()
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


def _asked(method: Method, tested: Sequence[Case], cohort: str) -> dict:
    """What a row is about: one that differs in any of this is another row."""
    recipe = json.loads(json.dumps(method.recipe.to_json()))
    return {"steps": method.recipe.steps, "tested": [c.name for c in tested], "cohort": cohort, "recipe": recipe}


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
    """A file of the comparison that comes with the library: "comparison.json", "figure.png" or "progression.png"."""
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
    """Write comparison.json and three figures (of the first generator) into `out`; returns the table in words."""
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
    case = split_cases(find_cases(folder), SHARES)[2][0]
    mr, ct, body = case.pair()
    made = {name: read_volume(run / SYNTHETIC / f"{case.name}.nii.gz") for name, run in runs.items()}
    first = [row for row in rows if row["seed"] == 0 and row["method"] not in NOT_FILMED]
    looks = {
        row["method"] + (f": drifts, {drifted(row):.2f}" if drifted(row) > DRIFTS else ""): [
            np.load(path) for path in sorted(runs[row["method"]].glob("axial/look_*.npy"))[::3]
        ]
        for row in first
    }
    return {
        "figure.png": side_by_side(mr, ct, made, body),
        "progression.png": plots.slices_in_rows(looks, width=1.2),
        "drift.png": progression(rows),
    }


def side_by_side(mr: Volume, ct: Volume, made: Mapping[str, Volume], body: np.ndarray, height: float = 0.35) -> Figure:
    """One axial slice of the MR, of the CT, and of what each method makes of the MR, with its error in the slice."""
    low, high = np.flatnonzero(body.any((0, 1)))[[0, -1]]
    at = int(low + height * (high - low))
    columns = 4
    count = 2 + len(made)
    figure, axes = plots.new_figure(-(-count // columns), columns, width=2.6, height=2.9)
    aspect = mr.spacing[1] / mr.spacing[0]
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    plots.picture(axes.flat[0], plots.plane(mr, "axial", at), plots.mr_window(mr.data, body), aspect=aspect)
    axes.flat[0].set_title("MR")
    for axis, (name, volume) in zip(axes.flat[1:], ({"CT": ct} | dict(made)).items(), strict=False):
        plots.picture(axis, plots.plane(volume, "axial", at), plots.CT_WINDOW, aspect=aspect)
        error = np.abs(volume.data - ct.data)[:, :, at][body[:, :, at]].mean()
        axis.set_title(name if volume is ct else f"{name}\n{error:.0f} HU")
    return figure


def progression(rows: Sequence[Mapping]) -> Figure:
    """How the runs of a comparison went, the mean over their seeds for each method: the error in slices of other
    patients and the correlation with the MR, over the steps. A dot marks the best, a ring an end that has drifted."""
    figure, axes = plots.new_figure(1, 2, width=6.2, height=5.2)
    for number, name in enumerate(dict.fromkeys(row["method"] for row in rows)):
        runs = [row["progress"] for row in rows if row["method"] == name]
        steps = [look["step"] for look in runs[0]]
        turn, colour = divmod(number, len(plots.COLOURS))
        style = {"color": plots.COLOURS[colour], "linestyle": ("-", "--")[turn % 2]}
        for axis, key in zip(axes[0], ("mae_hu", "mr_correlation"), strict=True):
            mean = np.mean([[look[key] for look in run] for run in runs], 0)
            axis.plot(steps, mean, label=name, **style)
            if key == "mae_hu":
                axis.plot(steps[mean.argmin()], mean.min(), "o", color=style["color"])
                if mean[-1] > DRIFTS * mean.min():
                    axis.plot(steps[-1], mean[-1], "o", color=style["color"], markersize=14, fillstyle="none")
    axes[0, 0].set(xlabel="step", ylabel="mean absolute error (HU)", yscale="log")
    ticks = [50, 75, 100, 150, 200, 300, 500, 800]
    axes[0, 0].set_yticks(ticks, map(str, ticks))
    axes[0, 0].minorticks_off()
    axes[0, 1].set(xlabel="step", ylabel="correlation with the MR")
    axes[0, 1].legend(fontsize=10, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
