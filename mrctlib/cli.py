"""The command line: mrct phantom | train | synthesize | evaluate | compare | grade."""

from __future__ import annotations

import argparse
import csv
import json
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mrctlib import metrics, plots
from mrctlib.data.cohorts import Case, find_cases, split_cases
from mrctlib.data.phantom import CONTRASTS, LESIONS, MANIFEST, SCANNERS, write_cohort
from mrctlib.data.volumes import Volume, body_mask, check_same_grid, read_volume, write_volume
from mrctlib.grading import COLUMNS, grade
from mrctlib.runtime import InputError, Tier, cpus_allowed, peak_memory_mb, progress, refuse_existing, tier, whole_file
from mrctlib.training.comparison import (
    COMPARISON_FILE,
    GENERATORS,
    SHARES,
    SYNTHETIC,
    compare,
    drifted,
    run_folder,
    summary,
)
from mrctlib.training.games import GAMES, PHANTOM_SHAPES, cohort_slices, recipe_for
from mrctlib.training.synthesis import load_generator, synthesize
from mrctlib.training.translation import TranslationTraining

HELD_OUT_SHARE = 0.2
RUN_FILE = "run.json"
METRICS = ("mae_hu", "psnr_db", "ssim", "bone_dice")
NOT_FILMED = ("GAN, paired", "WGAN, clipped", "pix2pix", "supervised, 2.5-D")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 2 for bad input (one line says what is wrong), 130 when interrupted."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        print(f"mrct: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mrct: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mrct", description="MR to CT: phantom patients, training, synthetic CT, metrics."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, summary: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    def add_cohort(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "folder", metavar="FOLDER", help="a cohort: case folders with mr.nii.gz, ct.nii.gz, mask.nii.gz"
        )

    def add_steps(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--steps", type=_count, metavar="N", help="instead of what the tier (MRCT_TIER=cpu|gpu) prescribes"
        )

    def add_force(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--force", action="store_true", help="replace an output that exists already")

    p = command(
        "phantom",
        _phantom,
        "Write a cohort of phantom patients: FOLDER/CASE/mr.nii.gz, ct.nii.gz and mask.nii.gz.",
        "mrct phantom patients --cases 30 --seed 0",
    )
    p.add_argument("folder", metavar="FOLDER", help="the cohort folder to make")
    p.add_argument("--cases", type=_count, default=10, metavar="N", help="how many patients (default: 10)")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="another seed draws other patients (default: 0)")
    p.add_argument(
        "--shape",
        type=_shape,
        default=(128, 128, 96),
        metavar="RxAxS",
        help="voxels over 256 x 256 x 192 mm, or `tier` for what this machine trains on (default: 128x128x96, 2 mm)",
    )
    p.add_argument("--contrast", choices=CONTRASTS, default="t1w", help="of the MR (default: t1w)")
    p.add_argument(
        "--scanner", choices=SCANNERS, default="a", help="b has other contrast, shading and noise (default: a)"
    )
    p.add_argument("--lesion", choices=LESIONS, help="put one into every brain, with its mask in lesion.nii.gz")
    add_force(p)

    p = command(
        "train",
        _train,
        "Train on a cohort. A fifth of the patients is held out. Goes on where RUN stopped.",
        "mrct train patients --model cyclegan --out run",
    )
    add_cohort(p)
    p.add_argument(
        "--model",
        choices=GAMES,
        default="cyclegan",
        help="cyclegan learns without pairs; paired is given the answers, as a yardstick; the others are plain GANs, "
        "for comparison (default: cyclegan)",
    )
    p.add_argument("--out", required=True, metavar="RUN", help="folder for the checkpoint and run.json")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="of weights, batches and noise (default: 0)")
    add_steps(p)

    p = command(
        "synthesize",
        _synthesize,
        "Turn an MR, or every MR of a cohort that the run was not trained on, into a synthetic CT in HU.",
        "mrct synthesize run mr.nii.gz --out sct.nii.gz",
    )
    p.add_argument("training", metavar="RUN", help="folder of a training")
    p.add_argument("mr", metavar="MR.nii.gz|FOLDER", help="one MR, or a cohort folder")
    p.add_argument("--out", required=True, metavar="SCT.nii.gz|FOLDER", help="one file, or a folder of CASE.nii.gz")
    p.add_argument("--mask", metavar="MASK.nii.gz", help="body mask of a single MR (default: found in the MR)")
    add_force(p)

    p = command(
        "evaluate",
        _evaluate,
        "Compare synthetic CT with CT inside the body; for a cohort also with simple baselines.",
        "mrct evaluate ct.nii.gz sct.nii.gz --mask mask.nii.gz",
    )
    p.add_argument("ct", metavar="CT.nii.gz|FOLDER", help="one CT, or a cohort folder")
    p.add_argument("sct", metavar="SCT.nii.gz|FOLDER", help="one synthetic CT, or a folder of CASE.nii.gz")
    p.add_argument("--mask", metavar="MASK.nii.gz", help="body mask of a single CT (default: found in the CT)")
    p.add_argument("--definition", choices=metrics.DEFINITIONS, default="synthrad2023", help="(default: synthrad2023)")
    p.add_argument("--out", metavar="FOLDER", help="for cohorts: where metrics.csv and figure.png go")
    add_force(p)

    p = command(
        "compare",
        _compare,
        "Train and test every method on one cohort, with one split and one budget. Goes on where OUT stopped.",
        "mrct compare patients --out comparison",
    )
    add_cohort(p)
    p.add_argument(
        "--out", required=True, metavar="OUT", help=f"folder for the runs, {COMPARISON_FILE} and three figures"
    )
    p.add_argument(
        "--generator", nargs="+", choices=GENERATORS, default=GENERATORS, help="of all methods (default: each in turn)"
    )
    p.add_argument("--seeds", type=_count, default=3, metavar="N", help="run each with seeds 0 to N - 1 (default: 3)")
    add_steps(p)

    p = command(
        "grade",
        _grade,
        "Run the exercises of submitted notebooks again: who solved what, and which known misconception is behind it.",
        "mrct grade submissions --out grades.csv",
    )
    p.add_argument("folder", metavar="FOLDER", help="the submissions: NAME.ipynb, any number of them")
    p.add_argument(
        "--out", default="grades.csv", metavar="GRADES.csv", help="a row for each exercise (default: grades.csv)"
    )
    p.add_argument("--seconds", type=_count, default=60, metavar="N", help="limit for each submission (default: 60)")
    p.add_argument("--memory-mb", type=_count, default=1000, metavar="N", help="limit for each (default: 1000)")
    add_force(p)
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _shape(text: str) -> tuple[int, ...]:
    if text == "tier":
        return PHANTOM_SHAPES[tier().name]
    parts = text.split("x")
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 128x128x96")
    return tuple(_count(part) for part in parts)


# ---------------------------------------------------------------------------------------------------- commands


def _phantom(options: argparse.Namespace) -> None:
    folder = write_cohort(
        options.folder,
        options.cases,
        options.seed,
        shape=options.shape,
        contrast=options.contrast,
        scanner=options.scanner,
        lesion=options.lesion,
        force=options.force,
    )
    print(f"{folder}: {options.cases} phantom patients, seed {options.seed}")


def _train(options: argparse.Namespace) -> None:
    here, folder = tier(), Path(options.folder)
    cases = find_cases(folder)
    training_cases, held_out = split_cases(cases, (1 - HELD_OUT_SHARE, HELD_OUT_SHARE), options.seed)
    if len(cases) < 5:
        training_cases, held_out = cases, []
        print(f"{len(cases)} cases are too few to hold any out: all are trained on", file=sys.stderr)
    recipe = recipe_for(options.model, here, seed=options.seed, steps=options.steps)
    used, mr, ct = cohort_slices(training_cases, recipe)
    training = TranslationTraining(recipe, mr, ct, here, options.out)
    if training.step:
        print(f"{options.out}: goes on from step {training.step} of {recipe.steps}", file=sys.stderr)
    training.run()
    if not training.accelerator.is_main_process:
        return
    about = _provenance(folder, here) | {
        "seed": options.seed,
        "steps": training.step,
        "training_seconds": round(training.seconds, 1),
        "peak_memory_mb": round(peak_memory_mb()),
        "cases": used | {"held_out": [case.name for case in held_out]},
        "recipe": recipe.to_json(),
        "history": training.history,
    }
    with whole_file(Path(options.out) / RUN_FILE, force=True) as part:
        part.write_text(json.dumps(about, indent=2) + "\n")
    print(f"{options.out}: {options.model}, {training.step} steps in {training.seconds:.0f} s of training")


def _synthesize(options: argparse.Namespace) -> None:
    generator, recipe = load_generator(options.training)
    if not Path(options.mr).is_dir():
        mr, body = _image_and_body(options.mr, options.mask, "mr")
        refuse_existing(options.out, force=options.force)
        sct = _named(options.mr, synthesize, generator, mr, body, recipe)
        write_volume(sct, options.out, force=options.force)
        print(f"{options.out}: synthetic CT in HU")
        return
    if options.mask is not None:
        raise InputError("--mask goes with a single MR; in a cohort each case has its own mask.nii.gz")
    cases = _not_trained_on(Path(options.training), find_cases(options.mr))
    out = Path(options.out)
    for case in cases:  # all refusals come before the first minute of work
        refuse_existing(out / f"{case.name}.nii.gz", force=options.force)
    for case in progress(cases, "synthesizing", unit="case"):
        mr = case.volume("mr")
        sct = _named(case.folder, synthesize, generator, mr, case.body(mr, "mr"), recipe)
        write_volume(sct, out / f"{case.name}.nii.gz", force=options.force)
    print(f"{out}: {len(cases)} synthetic CTs in HU")


def _evaluate(options: argparse.Namespace) -> None:
    definition = metrics.definition_named(options.definition)
    if not Path(options.ct).is_dir():
        ct, body = _image_and_body(options.ct, options.mask, "ct")
        sct = read_volume(options.sct)
        check_same_grid(ct, sct, options.ct, options.sct)
        _print_table(
            [
                {"case": Path(options.ct).name, "method": "sct"}
                | metrics.evaluate(ct.data, sct.data, body, definition.name)
            ]
        )
        print(f"range of PSNR and SSIM: {definition}")
        return
    if options.mask is not None:
        raise InputError("--mask goes with a single CT; in a cohort each case has its own mask.nii.gz")
    outputs = [Path(options.out) / name for name in ("metrics.csv", "figure.png")] if options.out else []
    for output in outputs:
        refuse_existing(output, force=options.force)
    folder = Path(options.sct)
    made = [case for case in find_cases(options.ct) if _sct_path(folder, case)]
    scored = [case for case in made if case.path("ct")]
    if not scored:
        raise InputError(f"{folder}: has no CASE.nii.gz for any case with a CT in {options.ct}; synthesize them first")
    if len(scored) < len(made):
        print(f"{len(made) - len(scored)} of {len(made)} cases have no ct.nii.gz and are left out", file=sys.stderr)
    rows = []
    for case in progress(scored, "evaluating", unit="case"):
        mr, ct, body = case.pair()
        sct = read_volume(_sct_path(folder, case))
        check_same_grid(ct, sct, f"{case.folder}: ct", f"{case.name}.nii.gz")
        candidates = {"sct": sct.data} | _named(case.folder, metrics.baselines, mr.data, ct.data, body)
        for method, candidate in candidates.items():
            rows.append(
                {"case": case.name, "method": method} | metrics.evaluate(ct.data, candidate, body, definition.name)
            )
    _print_table(_means(rows))
    print(f"means over {len(scored)} cases; range of PSNR and SSIM: {definition}")
    floor = _noise_floor(Path(options.ct))
    if floor is not None:
        print(f"noise floor: {floor:.1f} HU, the MAE of a prediction that is right in all but the noise of the CT")
    if outputs:
        with whole_file(outputs[0], force=options.force) as part, open(part, "w", newline="") as file:
            writer = csv.DictWriter(file, ["case", "method", *METRICS])
            writer.writeheader()
            writer.writerows(rows)
        case = scored[0]
        mr, ct, body = case.pair()
        figure = plots.translation(mr, read_volume(_sct_path(folder, case)), ct, body, title=case.name)
        with whole_file(outputs[1], force=options.force) as part:
            figure.savefig(part, dpi=100)


def _compare(options: argparse.Namespace) -> None:
    folder, out = Path(options.folder), Path(options.out)
    rows = compare(folder, out, options.generator, range(options.seeds), options.steps)
    about = _provenance(folder, tier()) | {"split": dict(zip(("train", "watch", "test"), SHARES, strict=True))}
    with whole_file(out / COMPARISON_FILE, force=True) as part:
        part.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    for row in summary(rows):
        print(
            f"{row['method']:<24} {row['generator']:<7} {row['mae_hu']:>7.1f} HU ({row['mae_low']:.1f} to"
            f" {row['mae_high']:.1f})  bone Dice {row['bone_dice']:.3f}  last over best {row['drift']:.2f}"
        )
    figures = _comparison_figures(folder, out, [row for row in rows if row["generator"] == options.generator[0]])
    for name, figure in figures.items():
        with whole_file(out / name, force=True) as part:
            part.write_bytes(plots.png(figure))
    print(f"{out}: {len(rows)} runs in {COMPARISON_FILE}; look at {', '.join(figures)}")


def _comparison_figures(folder: Path, out: Path, rows: list[dict]) -> dict[str, Figure]:
    """For the rows of one generator: a test patient by each method, a slice over the training (seed 0), the curves."""
    runs = {row["method"]: run_folder(out, row["method"], row["generator"], 0) for row in rows}
    case = split_cases(find_cases(folder), SHARES)[2][0]
    mr, ct, body = case.pair()
    made = {name: read_volume(_sct_path(run / SYNTHETIC, case)) for name, run in runs.items()}
    # Some need no row of pictures: they look like another method, or stand still.
    first = [row for row in rows if row["seed"] == 0 and row["method"] not in NOT_FILMED]
    looks = {
        row["method"] + (f": drifts, {drifted(row):.2f}" if drifted(row) > plots.DRIFTS else ""): [
            np.load(path) for path in sorted(runs[row["method"]].glob("axial/look_*.npy"))[::3]
        ]
        for row in first
    }
    return {
        "figure.png": plots.side_by_side(mr, ct, made, body),
        "progression.png": plots.slices_in_rows(looks, width=1.2),
        "drift.png": plots.progression(rows),
    }


def _grade(options: argparse.Namespace) -> None:
    refuse_existing(options.out, force=options.force)
    rows = grade(options.folder, seconds=options.seconds, memory_mb=options.memory_mb)
    with whole_file(options.out, force=options.force) as part, open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for name in dict.fromkeys(row["submission"] for row in rows):
        counts = Counter(row["verdict"] for row in rows if row["submission"] == name)
        print(f"{name:<24} " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    print(f"{options.out}: {len(rows)} rows")


# ---------------------------------------------------------------------------------------------------- helpers


def _provenance(folder: Path, here: Tier) -> dict:
    """On what machine, on how many of its CPU cores, with which versions and from which data a result was made."""
    manifest = folder / MANIFEST
    return {
        "tier": here.name,
        "device": str(here.device),
        "cpus": cpus_allowed(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("mrctlib", "torch", "numpy", "nibabel", "accelerate")},
        "data": json.loads(manifest.read_text())
        if manifest.exists()
        else {"data": folder.name, "cases": len(find_cases(folder))},
    }


def _named(path: str | Path, function, *arguments):
    """Call a function that knows arrays but not files, and put the file's name before what it complains about."""
    try:
        return function(*arguments)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _image_and_body(image: str, mask: str | None, modality: str) -> tuple[Volume, np.ndarray]:
    """A single image and its body: from the mask file, or found in the image where none is given."""
    volume = read_volume(image)
    if mask is None:
        return volume, _named(image, body_mask, volume, modality)
    body = read_volume(mask)
    check_same_grid(volume, body, image, mask)
    if not (body.data > 0.5).any():
        raise InputError(f"{mask}: the mask is empty; give one that covers the body")
    return volume, body.data > 0.5


def _not_trained_on(run: Path, cases: list[Case]) -> list[Case]:
    """The cases that the run has not seen; says so when it leaves some out."""
    about = run / RUN_FILE
    seen = json.loads(about.read_text())["cases"] if about.exists() else {}
    trained = {name for kind in ("mr", "ct") for name in seen.get(kind, [])}
    left = [case for case in cases if case.name not in trained and case.path("mr")]
    if not left:
        # A cohort too small to hold anyone out: better an honest warning than nothing.
        print("every case was trained on: the result is no test of the model", file=sys.stderr)
        return cases
    if len(left) < len(cases):
        print(f"{len(cases) - len(left)} cases that {run} was trained on are left out", file=sys.stderr)
    return left


def _sct_path(folder: Path, case: Case) -> Path | None:
    path = folder / f"{case.name}.nii.gz"
    return path if path.exists() else None


def _noise_floor(cohort: Path) -> float | None:
    manifest = cohort / MANIFEST
    return json.loads(manifest.read_text()).get("noise_floor_hu") if manifest.exists() else None


def _means(rows: list[dict]) -> list[dict]:
    methods = dict.fromkeys(row["method"] for row in rows)
    return [
        {"case": "mean", "method": method}
        | {name: float(np.mean([row[name] for row in rows if row["method"] == method])) for name in METRICS}
        for method in methods
    ]


def _print_table(rows: list[dict]) -> None:
    print(f"{'case':<20} {'method':<16} {'MAE (HU)':>9} {'PSNR (dB)':>10} {'SSIM':>7} {'bone Dice':>10}")
    for row in rows:
        print(
            f"{row['case']:<20} {row['method']:<16} {row['mae_hu']:>9.1f} {row['psnr_db']:>10.2f}"
            f" {row['ssim']:>7.3f} {row['bone_dice']:>10.3f}"
        )


if __name__ == "__main__":
    sys.exit(main())
