"""The command line: mrct phantom | train | synthesize | evaluate | compare | grade."""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

import mrctlib
from mrctlib import metrics, plots, runtime
from mrctlib.data.cohorts import Case, find_cases, split_cases
from mrctlib.data.volumes import Volume, body_mask, check_hu, check_same_grid, read_volume, write_volume
from mrctlib.phantom.head import MANIFEST, write_cohort
from mrctlib.phantom.imaging import CONTRASTS, SCANNERS
from mrctlib.phantom.tissues import LESIONS
from mrctlib.runtime import InputError, Tier, check_output, progress, tier, whole_file
from mrctlib.training.recipe import MODELS, PHANTOM_SHAPES, cohort_slices, recipe_for
from mrctlib.training.synthesis import Trained, load_generator, synthesize
from mrctlib.training.translation import TranslationTraining

HELD_OUT_SHARE = 0.2
RUN_FILE = "run.json"
ARCHITECTURES = ("unet", "resnet")
NO_MEMORY = "the memory does not suffice; close other programs, or give smaller images or fewer cases"
METRICS = ("mae_hu", "psnr_db", "ssim", "bone_dice")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it worked, 2 for bad input (one line says what is wrong), 130 when interrupted."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may hold what a terminal cannot show
    options = _parser().parse_args(arguments)
    mrctlib.setup()
    try:
        options.run(options)
    except InputError as error:
        return _refuse(str(error))
    except KeyboardInterrupt as stopped:
        print(f"mrct: interrupted; {str(stopped) or 'nothing is left half-written'}", file=sys.stderr)
        return 130
    except OSError as error:  # of a file that nobody foresaw
        return _refuse(f"{error.filename or 'a file'}: {error.strerror or error}; check it, or name another")
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        return _refuse(NO_MEMORY)
    return 0


def _refuse(message: str) -> int:
    print(f"mrct: {message}", file=sys.stderr)
    return 2


def _lacks_memory(error: Exception) -> bool:
    """PyTorch says it in a way of its own on a GPU, and in another on a CPU."""
    return isinstance(error, MemoryError) or any(w in str(error) for w in ("out of memory", "can't allocate memory"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mrct", description="MR to CT: phantom patients, training, synthetic CT, metrics.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable, example: str) -> Callable:
        about = {"help": run.__doc__, "description": run.__doc__, "epilog": f"example:\n  mrct {example}"}
        plain = argparse.RawDescriptionHelpFormatter
        sub = commands.add_parser(run.__name__.strip("_"), formatter_class=plain, **about)
        sub.set_defaults(run=run)
        return sub.add_argument

    cohort = {"metavar": "FOLDER", "help": "case folders with mr, ct, mask (.nii.gz or .mha), e.g. SynthRAD's Task1"}
    steps = {"type": _count, "metavar": "N", "help": "instead of what the tier (MRCT_TIER=cpu|mps|gpu) prescribes"}
    force = {"action": "store_true", "help": "replace an output that exists already"}

    add = command(_phantom, "phantom patients --cases 30 --seed 0")
    add("folder", metavar="FOLDER", help="the cohort folder to make")
    add("--cases", type=_count, default=10, metavar="N", help="how many patients (default: 10)")
    add("--seed", type=int, default=0, metavar="S", help="another seed draws other patients (default: 0)")
    shape_help = "voxels over 256 x 256 x 192 mm, or `tier` for what this machine trains on (default: 128x128x96, 2 mm)"
    add("--shape", type=_shape, default=(128, 128, 96), metavar="RxAxS", help=shape_help)
    add("--contrast", choices=CONTRASTS, default="t1w", help="of the MR (default: t1w)")
    add("--scanner", choices=SCANNERS, default="a", help="b has other contrast, shading and noise (default: a)")
    add("--lesion", choices=LESIONS, help="put one into every brain, with its mask in lesion.nii.gz")
    vary_help = "draw scanners and proportions of each patient from wide ranges, for what is learned to hold elsewhere"
    add("--vary", action="store_true", help=vary_help)
    add("--force", **force)

    add = command(_train, "train patients --model cyclegan --out run")
    add("folder", **cohort)
    model_help = "cyclegan learns without pairs; paired is given the answers, as a yardstick (default: cyclegan)"
    add("--model", choices=MODELS, default="cyclegan", help=model_help)
    add("--out", required=True, metavar="RUN", help="folder for the checkpoint and run.json")
    add("--seed", type=int, default=0, metavar="S", help="of weights, batches and noise (default: 0)")
    recipe_help = "full: as large and as long as in the paper, hours on a GPU (default: tier, minutes on this machine)"
    add("--recipe", choices=("tier", "full"), default="tier", help=recipe_help)
    add("--steps", **steps)

    add = command(_synthesize, "synthesize run mr.nii.gz --out sct.nii.gz")
    add("training", metavar="RUN", help="folder of a training")
    add("mr", metavar="MR.nii.gz|FOLDER", help="one MR, or a cohort folder")
    add("--out", required=True, metavar="SCT.nii.gz|FOLDER", help="one file, or a folder of CASE.nii.gz")
    add("--mask", metavar="MASK.nii.gz", help="body mask of a single MR (default: found in the MR)")
    add("--force", **force)

    add = command(_evaluate, "evaluate ct.nii.gz sct.nii.gz --mask mask.nii.gz")
    add("ct", metavar="CT.nii.gz|FOLDER", help="one CT, or a cohort folder")
    add("sct", metavar="SCT.nii.gz|FOLDER", help="one synthetic CT, or a folder of CASE.nii.gz")
    add("--mask", metavar="MASK.nii.gz", help="body mask of a single CT (default: found in the CT)")
    add("--definition", choices=metrics.DEFINITIONS, default="synthrad2023", help="(default: synthrad2023)")
    add("--out", metavar="FOLDER", help="for cohorts: where metrics.csv and figure.png go")
    add("--force", **force)

    add = command(_compare, "compare patients --out comparison")
    add("folder", **cohort)
    add("--out", required=True, metavar="OUT", help="folder for the runs, comparison.json and four figures")
    generator_help = "of all methods (default: each in turn)"
    add("--generator", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES, help=generator_help)
    add("--seeds", type=_count, default=3, metavar="N", help="run each with seeds 0 to N - 1 (default: 3)")
    add("--steps", **steps)

    add = command(_grade, "grade submissions --out grades.csv")
    add("folder", metavar="FOLDER", help="the submissions: NAME.ipynb, any number of them")
    add("--out", default="grades.csv", metavar="GRADES.csv", help="a row for each exercise (default: grades.csv)")
    add("--seconds", type=_count, default=60, metavar="N", help="limit for each submission (default: 60)")
    add("--memory-mb", type=_count, default=1000, metavar="N", help="limit for each (default: 1000)")
    add("--force", **force)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
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
    """Write a cohort of phantom patients: FOLDER/CASE/mr.nii.gz, ct.nii.gz and mask.nii.gz."""
    folder = Path(os.path.abspath(options.folder))
    check_output(folder, folder=True)
    wanted = {name: getattr(options, name) for name in ("shape", "contrast", "scanner", "lesion", "vary", "force")}
    write_cohort(folder, options.cases, options.seed, **wanted)
    print(f"{options.folder}: {options.cases} phantom patients, seed {options.seed}")


def _train(options: argparse.Namespace) -> None:
    """Train on a cohort. A fifth of the patients is held out. Goes on where RUN stopped."""
    here, folder, out = tier(), Path(options.folder), Path(options.out)
    check_output(out, folder=True)
    about = _provenance(folder, here)
    cases = find_cases(folder)
    training_cases, held_out = split_cases(cases, (1 - HELD_OUT_SHARE, HELD_OUT_SHARE), options.seed)
    if len(cases) < 5:
        training_cases, held_out = cases, []
        print(f"{len(cases)} cases are too few to hold any out: all are trained on", file=sys.stderr)
    recipe = recipe_for(options.model, here, full=options.recipe == "full", seed=options.seed, steps=options.steps)
    mr, ct = cohort_slices(training_cases, recipe, out)
    training = TranslationTraining(recipe, mr, ct, here, out)
    names = {kind: [patient["name"] for patient in slices.about] for kind, slices in (("mr", mr), ("ct", ct))}
    about |= {"cases": names | {"held_out": [case.name for case in held_out]}, "recipe": recipe.to_json()}
    about["seed"] = options.seed
    if training.step:
        print(f"{out}: goes on from step {training.step} of {recipe.steps}", file=sys.stderr)
    _report(out, about, training)  # a training that is interrupted has a report as well
    training.run()
    _report(out, about, training)
    print(f"{out}: {options.model}, {training.step} steps in {training.seconds:.0f} s of training")


def _report(out: Path, about: dict, training: TranslationTraining) -> None:
    """Write run.json, for people: who was trained on stands in the checkpoint itself."""
    if runtime.processes()[0]:
        return
    now = {"steps": training.step, "training_seconds": round(training.seconds, 1), "history": training.history}
    memory = runtime.peak_memory_mb()
    now["peak_memory_mb"] = round(memory) if memory == memory else None  # NaN where a system does not tell
    with whole_file(out / RUN_FILE, force=True) as part:
        part.write_text(json.dumps(about | now, indent=2) + "\n")


def _synthesize(options: argparse.Namespace) -> None:
    """Turn an MR, or every MR of a cohort that the run was not trained on, into a synthetic CT in HU."""
    out = Path(options.out)
    is_volume, is_cohort = out.name.endswith((".nii", ".nii.gz")), os.path.isdir(options.mr)
    if is_cohort and options.mask is not None:
        raise InputError("--mask goes with a single MR; in a cohort each case has its own mask.nii.gz")
    if is_cohort == is_volume:
        meant = "a folder, as the MR is one" if is_cohort else "a file that ends in .nii or .nii.gz, as NIfTI does"
        raise InputError(f"--out {out}: name {meant}")
    check_output(out, force=options.force, folder=is_cohort)
    generator, recipe, about = load_generator(options.training)
    trained, typical = Trained.of(about), about["notes"].get("typical")
    if not is_cohort:
        for given in filter(os.path.exists, (options.mr, options.mask or "")):
            if out.exists() and out.samefile(given):
                raise InputError(f"{out}: is an input as well; name another output")
        mr, body = _image_and_body(options.mr, options.mask, "mr")
        if trained.saw(mr):
            print(f"{options.mr}: was trained on, so the result is no test of the model", file=sys.stderr)
        sct = _named(options.mr, synthesize, generator, mr, body, recipe, typical, options.mr)
        write_volume(sct, out, force=options.force)
        print(f"{out}: synthetic CT in HU")
        return
    everyone = find_cases(options.mr)
    cases = [case for case in everyone if case.path("mr")]
    if not cases:
        raise InputError(f"{options.mr}: no case has an MR; name a cohort with mr.nii.gz")
    if len(cases) < len(everyone):
        print(f"left out: {_listed(set(everyone) - set(cases))} (no MR)", file=sys.stderr)
    fresh, made = [case for case in cases if case.name not in trained.names], []
    for case in fresh or cases:  # all refusals come before the first minute of work
        check_output(out / f"{case.name}.nii.gz", force=options.force)

    for chosen in (fresh, cases):
        for case in progress(chosen, "synthesizing", unit="case"):
            mr, name = case.volume("mr"), str(case.folder)
            if chosen is fresh and (trained.saw(mr) or (case.path("ct") and trained.saw(case.volume("ct")))):
                continue  # it was trained on under another name
            body = case.body(mr, "mr")
            sct = _named(name, synthesize, generator, mr, body, recipe, typical, name)
            write_volume(sct, out / f"{case.name}.nii.gz", force=options.force)
            made.append(case)
        if made:
            break
        # A cohort too small to hold anyone out: better an honest warning than nothing.
        print("every case was trained on: the result is no test of the model", file=sys.stderr)
    if left := set(cases) - set(made):
        print(f"left out: {_listed(left)} ({options.training} was trained on them)", file=sys.stderr)
    print(f"{out}: {len(made)} synthetic CTs in HU")


def _evaluate(options: argparse.Namespace) -> None:
    """Compare synthetic CT with CT inside the body; for a cohort also with simple baselines."""
    definition = metrics.definition_named(options.definition)
    if not os.path.isdir(options.ct):
        if options.out is not None:
            raise InputError("--out goes with a cohort; the row of a single CT is printed")
        ct, body = _image_and_body(options.ct, options.mask, "ct")
        sct = read_volume(options.sct)
        check_same_grid(ct, sct, options.ct, options.sct)
        scores = metrics.evaluate(ct.data, sct.data, body, definition.name)
        _print_table([{"case": Path(options.ct).name, "method": "sct"} | scores])
        print(f"range of PSNR and SSIM: {definition}")
        return
    if options.mask is not None:
        raise InputError("--mask goes with a single CT; in a cohort each case has its own mask.nii.gz")
    outputs = [Path(options.out) / name for name in ("metrics.csv", "figure.png")] if options.out else []
    for output in outputs:
        check_output(output, force=options.force)
    floor, cases, folder = _manifest(Path(options.ct)).get("noise_floor_hu"), find_cases(options.ct), Path(options.sct)
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; name the one that holds CASE.nii.gz for the cases of {options.ct}")
    lacks = {case: _lacks(case, folder) for case in cases}
    scored = [case for case in cases if not lacks[case]]
    if not scored:
        raise InputError(f"{folder}: has no CASE.nii.gz for any case with a CT in {options.ct}; synthesize them first")
    rows, figure = [], None
    for case in progress(scored, "evaluating", unit="case"):
        mr, ct, body = case.pair()
        sct = read_volume(_sct_path(folder, case))
        check_same_grid(ct, sct, f"{case.folder}: ct", f"{case.name}.nii.gz")
        candidates = {"sct": sct.data} | _named(case.folder, metrics.baselines, mr.data, ct.data, body)
        for method, candidate in candidates.items():
            scores = _named(case.folder, metrics.evaluate, ct.data, candidate, body, definition.name)
            rows.append({"case": case.name, "method": method} | scores)
        if outputs and figure is None:
            drawable = case.name.encode("latin-1", "backslashreplace").decode("latin-1").replace("$", r"\$")
            figure = plots.translation(mr, sct, ct, body, title=drawable)
    _print_table(_means(rows))
    reasons = dict.fromkeys(filter(None, lacks.values()))
    left = [f"{_listed(case for case in cases if lacks[case] == reason)} ({reason})" for reason in reasons]
    print(f"means over {len(scored)} of {len(cases)} cases" + (f"; left out: {', '.join(left)}" if left else ""))
    print(f"range of PSNR and SSIM: {definition}")
    if floor is not None:
        print(f"noise floor: {floor:.1f} HU, the MAE of a prediction that is right in all but the noise of the CT")
    if outputs:
        _write_table(outputs[0], ["case", "method", *METRICS], rows, force=options.force)
        with whole_file(outputs[1], force=options.force) as part:
            figure.savefig(part, dpi=100)


def _compare(options: argparse.Namespace) -> None:
    """Train and test every method on one cohort, with one split and one budget. Goes on where OUT stopped."""
    from mrctlib.course.comparison import SHARES, compare, report

    folder, out = Path(options.folder), Path(options.out)
    check_output(out, folder=True)
    about = _provenance(folder, tier()) | {"split": dict(zip(("train", "watch", "test"), SHARES, strict=True))}
    rows = compare(folder, out, options.generator, range(options.seeds), options.steps)
    print(report(folder, out, rows, about))


def _grade(options: argparse.Namespace) -> None:
    """Run the exercises of submitted notebooks again: who solved what, and which known misconception is behind it."""
    from mrctlib.course.grading import COLUMNS, grade

    check_output(options.out, force=options.force)
    rows = grade(options.folder, seconds=options.seconds, memory_mb=options.memory_mb)
    _write_table(Path(options.out), COLUMNS, rows, force=options.force)
    for name in dict.fromkeys(row["submission"] for row in rows):
        counts = Counter(row["verdict"] for row in rows if row["submission"] == name)
        print(f"{name:<24} " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    print(f"{options.out}: {len(rows)} rows")


# ---------------------------------------------------------------------------------------------------- helpers


def _listed(cases: Iterable[Case], most: int = 5) -> str:
    """Names, as many as one cares to read."""
    names = sorted(case.name for case in cases)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _manifest(folder: Path) -> dict:
    """What cohort.json says of a cohort; nothing where there is none."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text("utf-8")) | {}  # a TypeError unless it is a dictionary
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: is damaged; delete it, or write the cohort again with mrct phantom") from error


def _provenance(folder: Path, here: Tier) -> dict:
    """On what machine, on how many of its CPU cores, with which versions and from which data a result was made."""
    packages = ("mrctlib", "torch", "numpy", "nibabel")
    return {
        "tier": here.name,
        "device": str(here.device),
        "cpus": runtime.cpus_allowed(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "data": _manifest(folder) or {"data": Path(os.path.abspath(folder)).name, "cases": len(find_cases(folder))},
    }


def _write_table(path: Path, columns: Sequence[str], rows: list[dict], *, force: bool) -> None:
    """A csv; what is no UTF-8 is written as escapes."""
    coding = {"encoding": "utf-8", "errors": "backslashreplace"}
    with whole_file(path, force=force) as part, open(part, "w", newline="", **coding) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _named(path: str | Path, function: Callable, *arguments):
    """Call a function that knows arrays but not files, and put the file's name before what it complains about."""
    try:
        return function(*arguments)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (MemoryError, RuntimeError) as error:
        if _lacks_memory(error):
            raise InputError(f"{path}: {NO_MEMORY}") from error
        raise


def _image_and_body(image: str, mask: str | None, modality: str) -> tuple[Volume, np.ndarray]:
    """A single image and its body: from the mask file, or found in the image where none is given."""
    volume = read_volume(image)
    if mask is None:
        body = _named(image, body_mask, volume, modality)
    else:
        given = read_volume(mask)
        check_same_grid(volume, given, image, mask)
        body = given.data > 0.5
        if not body.any():
            raise InputError(f"{mask}: the mask is empty; give one that covers the body")
    if modality == "ct":
        check_hu(volume.data, body, image)
    return volume, body


def _lacks(case: Case, folder: Path) -> str:
    """What an evaluation of a case lacks, in words; nothing if it lacks nothing."""
    there = {"no CT": case.path("ct"), "no MR": case.path("mr"), "no synthetic CT": _sct_path(folder, case)}
    return next((reason for reason, path in there.items() if path is None), "")


def _sct_path(folder: Path, case: Case) -> Path | None:
    return next((p for p in (folder / f"{case.name}.nii.gz", folder / f"{case.name}.nii") if p.exists()), None)


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
        scores = f"{row['mae_hu']:>9.1f} {row['psnr_db']:>10.2f} {row['ssim']:>7.3f} {row['bone_dice']:>10.3f}"
        print(f"{row['case']:<20} {row['method']:<16} {scores}")


if __name__ == "__main__":
    sys.exit(main())
