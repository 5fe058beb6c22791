"""The command line as a newcomer meets it: it works, it resumes, and bad input is one line and exit code 2."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mrctlib import cli, metrics, runtime
from mrctlib.cli import main
from mrctlib.data import cohorts
from mrctlib.data.cohorts import find_cases
from mrctlib.data.volumes import Volume, read_volume, write_volume
from mrctlib.runtime import Tier
from mrctlib.training import synthesis
from mrctlib.training.checkpoints import CHECKPOINT
from mrctlib.training.translation import TranslationTraining


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory):
    """A training of a few steps, enough to try the road."""
    folder = tmp_path_factory.mktemp("run")
    assert main(["train", str(cohort), "--out", str(folder), "--steps", "2"]) == 0
    return folder


def refused(capsys, *arguments) -> str:
    """The one line of a command that must fail."""
    assert main([str(a) for a in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mrct:")]
    assert len(lines) == 1
    return lines[0]


def test_training_says_what_it_did_and_goes_on(run, cohort, capsys):
    about = json.loads((run / "run.json").read_text())
    assert about["tier"] == "cpu" and about["steps"] == 2 and about["data"]["data"] == "phantom"
    assert {"seed", "training_seconds", "peak_memory_mb", "versions"} <= set(about)
    used = set(about["cases"]["mr"]) | set(about["cases"]["ct"])
    assert len(about["cases"]["held_out"]) == 1 and not used & set(about["cases"]["held_out"])
    before = (run / CHECKPOINT).read_bytes()
    assert main(["train", str(cohort), "--out", str(run), "--steps", "2"]) == 0
    assert "goes on from step 2 of 2" in capsys.readouterr().err
    assert (run / CHECKPOINT).read_bytes() == before


def test_a_training_that_has_ended_can_be_made_longer(run, cohort, tmp_path, capsys):
    longer = shutil.copytree(run, tmp_path / "longer")
    assert main(["train", str(cohort), "--out", str(longer), "--steps", "4"]) == 0
    assert "goes on from step 2 of 4" in capsys.readouterr().err
    assert json.loads((longer / "run.json").read_text())["steps"] == 4
    assert "has taken 4 steps" in refused(capsys, "train", cohort, "--out", longer, "--steps", "3")


@pytest.fixture
def interrupted(cohort, tmp_path, monkeypatch, capsys):
    """A run that somebody stopped after its second checkpoint."""

    def stop(training):
        if training.step == 2:
            raise KeyboardInterrupt

    often, through = cli.recipe_for, TranslationTraining.run
    with monkeypatch.context() as patch:
        patch.setattr(cli, "recipe_for", lambda *a, **b: replace(often(*a, **b), watch_every=1))
        patch.setattr(TranslationTraining, "run", lambda self: through(self, stop))
        assert main(["train", str(cohort), "--out", str(tmp_path / "stopped"), "--steps", "9"]) == 130
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mrct:")]
    assert len(said) == 1 and "stopped at step 2 of 9" in said[0]
    return tmp_path / "stopped"


@pytest.mark.parametrize("report", [None, "", "[]", '{"cases": '])
def test_an_interrupted_run_never_scores_whom_it_was_trained_on(interrupted, report, cohort, tmp_path, capsys):
    about = json.loads((interrupted / "run.json").read_text())
    assert about["steps"] == 0 and {"seed", "recipe", "data", "versions"} <= set(about)
    (interrupted / "run.json").unlink()
    if report is not None:
        (interrupted / "run.json").write_text(report)
    assert main(["synthesize", str(interrupted), str(cohort), "--out", str(tmp_path / "sct")]) == 0
    assert "was trained on them" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "sct").iterdir()] == [f"{name}.nii.gz" for name in about["cases"]["held_out"]]


def test_patients_are_known_under_other_names(run, cohort, tmp_path, capsys):
    used = json.loads((run / "run.json").read_text())["cases"]
    others = tmp_path / "others"
    for number, case in enumerate(find_cases(cohort)):
        shutil.copytree(case.folder, others / f"{number}_{case.name in used['held_out']}")
    assert main(["synthesize", str(run), str(others), "--out", str(tmp_path / "sct")]) == 0
    assert [p.name[1:] for p in (tmp_path / "sct").iterdir()] == ["_True.nii.gz"]
    known = next(iter(others.glob("*_False")))
    for kind in ("mr", "ct"):
        capsys.readouterr()
        assert main(["synthesize", str(run), str(known), "--out", str(tmp_path / kind)]) == 0
        assert "every case was trained on" in capsys.readouterr().err
    seen_mr = cohort / used["mr"][0] / "mr.nii.gz"
    assert main(["synthesize", str(run), str(seen_mr), "--out", str(tmp_path / "one.nii.gz")]) == 0
    assert "was trained on" in capsys.readouterr().err


def test_a_cohort_of_patients_with_mr_or_ct(cohort, tmp_path, capsys):
    mixed, run = shutil.copytree(cohort, tmp_path / "mixed"), tmp_path / "run"
    cases = find_cases(mixed)
    for case in cases[:2]:
        case.path("ct").unlink()
    for case in cases[2:4]:
        case.path("mr").unlink()
    assert main(["train", str(mixed), "--out", str(run), "--steps", "2"]) == 0
    held_out = json.loads((run / "run.json").read_text())["cases"]["held_out"]
    capsys.readouterr()
    assert main(["synthesize", str(run), str(mixed), "--out", str(tmp_path / "sct")]) == 0
    said = capsys.readouterr().err
    assert f"left out: {cases[2].name}, {cases[3].name} (no MR)" in said
    with_mr = [case.name for case in cases if case.path("mr")]
    fresh = [name for name in held_out if name in with_mr]
    assert ("every case was trained on" in said) is (not fresh)
    assert sorted(p.name for p in (tmp_path / "sct").iterdir()) == [f"{name}.nii.gz" for name in fresh or with_mr]
    for case in find_cases(mixed):
        if path := case.path("mr"):
            path.unlink()
    assert "no case has an MR" in refused(capsys, "synthesize", run, mixed, "--out", tmp_path / "none")


def test_checkpoint_and_report_may_be_read_by_the_same_people(run):
    assert len({path.stat().st_mode for path in run.rglob("*") if path.is_file()}) == 1


def test_synthesis_runs_on_the_device_of_the_tier(run, monkeypatch):
    monkeypatch.setattr(synthesis, "tier", lambda: Tier("gpu", torch.device("meta")))
    assert next(synthesis.load_generator(run)[0].parameters()).device.type == "meta"


def test_an_image_unlike_those_of_the_training_is_said_so(run, cases, tmp_path, capsys):
    for case in cases[:2]:
        for kind in ("ct", "mr"):
            out = tmp_path / f"{case.name}_{kind}.nii.gz"
            mask = str(case.path("mask"))
            assert main(["synthesize", str(run), str(case.path(kind)), "--mask", mask, "--out", str(out)]) == 0
            assert ("unlike what this run was trained on" in capsys.readouterr().err) is (kind == "ct")
    generator, recipe, about = synthesis.load_generator(run)  # as a notebook does it
    ct, body = cases[0].volume("ct"), cases[0].volume("mask").data > 0.5
    synthesis.synthesize(generator, ct, body, recipe, about["notes"]["typical"])
    assert "this MR: its histogram is unlike" in capsys.readouterr().err


def test_cohort_to_table(run, cohort, tmp_path, capsys):
    sct = tmp_path / "sct"
    assert main(["synthesize", str(run), str(cohort), "--out", str(sct)]) == 0
    held_out = json.loads((run / "run.json").read_text())["cases"]["held_out"]
    assert [p.name for p in sct.iterdir()] == [f"{name}.nii.gz" for name in held_out]
    capsys.readouterr()
    assert main(["evaluate", str(cohort), str(sct), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "best lookup" in printed and "noise floor" in printed and "[-1024, 3000]" in printed
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert list(rows[0]) == ["case", "method", "mae_hu", "psnr_db", "ssim", "bone_dice"]
    assert {"sct", "water", "best constant", "best lookup"} <= {row["method"] for row in rows}
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert "exists already" in refused(capsys, "evaluate", cohort, sct, "--out", tmp_path)
    assert "exists already" in refused(capsys, "synthesize", run, cohort, "--out", sct)


def test_who_is_left_out_of_an_evaluation_and_why(cohort, tmp_path, capsys):
    cases = find_cases(cohort)[:4]
    some, sct = tmp_path / "some", tmp_path / "sct"
    sct.mkdir()
    for case in cases:
        shutil.copytree(case.folder, some / case.name)
        shutil.copy(case.path("ct"), sct / f"{case.name}.nii.gz")
    names = [case.name for case in cases]
    (sct / f"{names[1]}.nii.gz").unlink()
    assert main(["evaluate", str(some), str(sct)]) == 0
    assert f"means over 3 of 4 cases; left out: {names[1]} (no synthetic CT)\n" in capsys.readouterr().out
    (some / names[2] / "ct.nii.gz").unlink()
    (some / names[3] / "mr.nii.gz").unlink()
    assert main(["evaluate", str(some), str(sct)]) == 0
    left = f"{names[1]} (no synthetic CT), {names[2]} (no CT), {names[3]} (no MR)\n"
    assert f"means over 1 of 4 cases; left out: {left}" in capsys.readouterr().out
    (some / names[0] / "ct.nii.gz").unlink()
    assert "with a CT" in refused(capsys, "evaluate", some, sct)


def test_an_evaluation_reads_each_file_once(cohort, cases, tmp_path, monkeypatch):
    (tmp_path / "sct").mkdir()
    for case in cases[:2]:
        shutil.copy(case.path("ct"), tmp_path / "sct" / f"{case.name}.nii.gz")
    read = []
    for module in (cohorts, cli):
        monkeypatch.setattr(module, "read_volume", lambda path: read.append(path) or read_volume(path))
    assert main(["evaluate", str(cohort), str(tmp_path / "sct"), "--out", str(tmp_path)]) == 0
    assert len(read) == len(set(read)) == 8


def test_a_synthesis_reads_each_mr_once(run, cohort, tmp_path, monkeypatch):
    others = tmp_path / "others"
    for number, case in enumerate(find_cases(cohort)):
        shutil.copytree(case.folder, others / str(number))
    read = []
    monkeypatch.setattr(cohorts, "read_volume", lambda path: read.append(path) or read_volume(path))
    assert main(["synthesize", str(run), str(others), "--out", str(tmp_path / "sct")]) == 0
    assert sum(path.name == "mr.nii.gz" for path in read) == 6 and len(read) == len(set(read))


def test_names_that_are_hard_to_print_or_draw(cohort, tmp_path, capsys):
    some, sct, out = tmp_path / "a b", tmp_path / "é", tmp_path / "中"
    sct.mkdir()
    names = ["a$_$b", "b é 中", "c d"] + ([os.fsdecode(b"d\xe9")] if os.name == "posix" else [])
    for name, case in zip(names, find_cases(cohort), strict=False):
        shutil.copytree(case.folder, some / name)
        shutil.copy(case.path("ct"), sct / f"{name}.nii.gz")
    for name in names:  # each is the first once, whose picture is drawn
        assert main(["evaluate", str(some), str(sct), "--out", str(out), "--force"]) == 0
        table = (out / "metrics.csv").read_text(encoding="utf-8")
        written = name.encode(errors="backslashreplace").decode()
        assert written in {row["case"] for row in csv.DictReader(table.splitlines())}
        shutil.rmtree(some / name)
    assert "c d" not in capsys.readouterr().err


def test_a_case_is_called_by_its_own_name_from_within(run, cases, tmp_path, monkeypatch):
    monkeypatch.chdir(cases[0].folder)
    assert main(["synthesize", str(run), ".", "--out", str(tmp_path / "sct")]) == 0
    assert [p.name for p in (tmp_path / "sct").iterdir()] == [f"{cases[0].name}.nii.gz"]


def test_single_files(run, cases, tmp_path, capsys):
    mr, ct = cases[0].path("mr"), cases[0].path("ct")
    out = tmp_path / "sct.nii.gz"
    assert main(["synthesize", str(run), str(mr), "--mask", str(cases[0].path("mask")), "--out", str(out)]) == 0
    assert read_volume(out).data.shape == read_volume(mr).data.shape
    for definition, span in (("synthrad2023", "3000"), ("synthrad2025", "3071")):
        assert main(["evaluate", str(ct), str(out), "--definition", definition]) == 0
        assert span in capsys.readouterr().out


def test_synthesis_keeps_the_files_own_orientation(run, cases, tmp_path):
    mr, _, _ = cases[0].pair()
    turned = Volume(mr.data, mr.affine, axes="LAS")
    write_volume(turned, tmp_path / "mr.nii.gz")
    assert main(["synthesize", str(run), str(tmp_path / "mr.nii.gz"), "--out", str(tmp_path / "sct.nii.gz")]) == 0
    before, after = nib.load(tmp_path / "mr.nii.gz"), nib.load(tmp_path / "sct.nii.gz")
    assert nib.aff2axcodes(after.affine) == ("L", "A", "S")
    np.testing.assert_allclose(after.affine, before.affine)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["train", "MISSING", "--out", "NEW"], "no such folder"),
        (["train", "EMPTY", "--out", "NEW"], "no cases"),
        (["train", "BADGRID", "--out", "NEW"], "grid"),
        (["train", "COHORT", "--out", "RUN", "--model", "paired", "--steps", "2"], "another training"),
        (["train", "COHORT", "--out", "RUN", "--steps", "1"], "has taken 2 steps"),
        (["train", "DAMAGED", "--out", "NEW"], "cohort.json: is damaged"),
        (["evaluate", "DAMAGED", "EMPTY"], "cohort.json: is damaged"),
        (["synthesize", "EMPTY", "MR", "--out", "NEW.nii.gz"], "no checkpoint"),
        (["synthesize", "RUN", "MISSING", "--out", "NEW.nii.gz"], "no such file"),
        (["synthesize", "RUN", "TEXT", "--out", "NEW.nii.gz"], "could not be read"),
        (["synthesize", "RUN", "CONSTANT", "--out", "NEW.nii.gz"], "it is 5"),
        (["synthesize", "RUN", "NAN", "--out", "NEW.nii.gz"], "NaN"),
        (["synthesize", "RUN", "MR", "--mask", "ZERO", "--out", "NEW.nii.gz"], "mask is empty"),
        (["synthesize", "RUN", "MR", "--mask", "SMALL", "--out", "NEW.nii.gz"], "grid"),
        (["synthesize", "RUN", "MR", "--out", "NEW.txt"], "NIfTI"),
        (["synthesize", "RUN", "MR", "--out", "MR"], "exists already"),
        (["evaluate", "CT", "SMALL"], "grid"),
        (["evaluate", "CT", "NAN"], "NaN"),
        (["evaluate", "COHORT", "EMPTY"], "synthesize them first"),
        (["evaluate", "COHORT", "MISSING"], "is no folder"),
        (["evaluate", "COHORT", "CT"], "is no folder"),
        (["evaluate", "CT", "EMPTY"], "is a folder"),
        (["evaluate", "CT", "CT", "--out", "NEW"], "--out goes with a cohort"),
        (["evaluate", "HIGH", "CT"], "not in HU"),
        (["phantom", "EXISTING"], "exists already"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(command, says, run, cohort, cases, tmp_path, capsys):
    mr = read_volume(cases[0].path("mr"))
    made = {
        "CONSTANT": mr.like(np.full_like(mr.data, 5)),
        "ZERO": mr.like(np.zeros_like(mr.data)),
        "SMALL": Volume(mr.data[2:], mr.affine),
        "HIGH": mr.like(cases[0].volume("ct").data + 1024),
    }
    places = {
        "MISSING": tmp_path / "missing",
        "EMPTY": tmp_path / "empty",
        "DAMAGED": tmp_path / "damaged",
        "EXISTING": cohort,
        "BADGRID": tmp_path / "badgrid",
        "COHORT": cohort,
        "RUN": run,
        "MR": cases[0].path("mr"),
        "CT": cases[0].path("ct"),
        "TEXT": tmp_path / "text.nii.gz",
        "NAN": tmp_path / "nan.nii.gz",
        "NEW": tmp_path / "new",
        "NEW.nii.gz": tmp_path / "new.nii.gz",
        "NEW.txt": tmp_path / "new.txt",
    } | {name: tmp_path / f"{name}.nii.gz" for name in made}
    places["EMPTY"].mkdir()
    places["TEXT"].write_text("hello")
    write_volume(mr, places["DAMAGED"] / "one" / "mr.nii.gz")
    (places["DAMAGED"] / "cohort.json").write_text('{"noise_floor_hu": ')
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), np.nan, np.float32), np.eye(4)), places["NAN"])
    for name, volume in made.items():
        write_volume(volume, places[name])
    write_volume(mr, places["BADGRID"] / "one" / "mr.nii.gz")
    write_volume(made["SMALL"], places["BADGRID"] / "one" / "ct.nii.gz")
    write_volume(mr.like(mr.data > 50), places["BADGRID"] / "one" / "mask.nii.gz")
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    line = refused(capsys, *(places.get(word, word) for word in command))
    assert says in line
    left = [path for path in places["NEW"].rglob("*") if path.is_file()]
    assert all("slices" in path.parts for path in left), "the slices of the MRs are good for a second try"
    assert not any(places[name].exists() for name in ("NEW.nii.gz", "NEW.txt"))
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


OUTPUTS = ["FILE/below", "FILE", "READONLY/new", "LOOP/new"]


@pytest.mark.parametrize(
    ("command", "places"),
    [
        (["phantom", "OUT"], OUTPUTS),
        (["train", "COHORT", "--out", "OUT"], OUTPUTS),
        (["synthesize", "RUN", "COHORT", "--out", "OUT"], [*OUTPUTS, "new.nii.gz"]),
        (["synthesize", "RUN", "MR", "--out", "OUT"], ["FILE/sct.nii.gz", "FOLDER", "FOLDER.nii.gz", "new", "MR"]),
        (["synthesize", "RUN", "MR", "--mask", "MASK", "--force", "--out", "OUT"], ["MR", "MASK"]),
        (["evaluate", "COHORT", "SCT", "--out", "OUT"], OUTPUTS),
        (["compare", "COHORT", "--out", "OUT"], OUTPUTS),
        (["grade", "FOLDER", "--out", "OUT"], ["FILE/below.csv", "FILE", "FOLDER"]),
    ],
)
def test_outputs_are_tried_before_any_work(command, places, run, cohort, cases, tmp_path, monkeypatch, capsys):
    from mrctlib.course import comparison, grading

    def work(*_, **__):
        raise AssertionError("work was begun")

    for module, name in (
        (cli, "write_cohort"), (cli, "cohort_slices"), (cli, "synthesize"), (metrics, "evaluate"),
        (comparison, "compare"), (grading, "grade"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, work)
    made = {name: tmp_path / name for name in ("FILE", "FOLDER", "FOLDER.nii.gz", "READONLY", "LOOP", "SCT")}
    made["FILE"].write_text("kept")
    made["LOOP"].symlink_to(made["LOOP"])
    for path in (made[name] for name in made if name not in ("FILE", "LOOP")):
        path.mkdir()
    for kind in ("mr", "mask"):
        made[kind.upper()] = shutil.copy(cases[0].path(kind), tmp_path / f"{kind}.nii.gz")
    shutil.copy(cases[0].path("ct"), made["SCT"] / f"{cases[0].name}.nii.gz")
    made |= {"RUN": run, "COHORT": cohort}
    made["READONLY"].chmod(0o500)
    for place in places:
        first, _, rest = place.partition("/")
        if first == "READONLY" and os.access(made[first], os.W_OK):
            continue  # nothing is closed to root, or on Windows
        out = Path(made.get(first, tmp_path / first), rest)
        before = sorted(tmp_path.rglob("*"))
        line = refused(capsys, *(out if word == "OUT" else made.get(word, word) for word in command))
        assert any(words in line for words in ("cannot be written", "is a folder", "name a", "is an input", "exists"))
        assert sorted(tmp_path.rglob("*")) == before and made["FILE"].read_text() == "kept"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] can't allocate memory: you tried")])
def test_too_little_memory_is_one_line(error, run, cohort, cases, tmp_path, monkeypatch, capsys):
    def fails(*_, **__):
        raise error

    for name in ("synthesize", "cohort_slices", "write_cohort"):
        monkeypatch.setattr(cli, name, fails)
    made = tmp_path / "new"
    assert "memory" in refused(capsys, "train", cohort, "--out", made)
    assert "memory" in refused(capsys, "phantom", made)
    assert cases[0].name in refused(capsys, "synthesize", run, cases[0].folder, "--out", made)
    monkeypatch.setattr(cli, "write_cohort", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a fault of ours is shown whole
        main(["phantom", str(made)])


def test_ctrl_c_is_one_line(tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "write_cohort", stop)
    assert main(["phantom", str(tmp_path / "P")]) == 130
    assert capsys.readouterr().err == "mrct: interrupted; nothing is left half-written\n"


def test_a_file_that_may_not_be_touched_is_named(tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", "some/file")

    monkeypatch.setattr(cli, "write_cohort", refuse)
    assert "some/file: Permission denied" in refused(capsys, "phantom", tmp_path / "P")


@pytest.mark.skipif(os.name != "posix", reason="no such limit")
def test_a_full_disk_leaves_nothing_behind(run, cohort, cases, tmp_path, capsys):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        lines = [
            refused(capsys, "phantom", tmp_path / "P", "--cases", "1", "--shape", "40x40x24"),
            refused(capsys, "synthesize", run, cases[0].path("mr"), "--out", tmp_path / "sct.nii.gz"),
            refused(capsys, "train", cohort, "--out", tmp_path / "run", "--steps", "1"),
        ]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert all("could not be written" in line for line in lines)
    assert not any(tmp_path.iterdir())


def test_a_system_that_does_not_tell_its_memory(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "peak_memory_mb", lambda: float("nan"))  # Windows
    assert main(["train", str(cohort), "--out", str(tmp_path), "--steps", "1"]) == 0
    assert json.loads((tmp_path / "run.json").read_text())["peak_memory_mb"] is None


def test_the_command_line_reaches_into_the_course_late():
    told = "import sys, mrctlib.cli\nprint([name for name in sys.modules if name.startswith('mrctlib.course')])"
    shown = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True)
    assert shown.stdout == "[]\n"


@pytest.mark.parametrize("command", ["", "phantom", "train", "synthesize", "evaluate", "compare", "grade"])
def test_help_is_there_for_a_newcomer(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*command.split(), "--help"])
    shown = capsys.readouterr().out
    assert "mrct" in shown and (not command or "example" in shown)
