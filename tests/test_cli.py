"""The command line as a newcomer meets it: it works, it resumes, and bad input is one line and exit code 2."""

import csv
import json
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from mrctlib.cli import main
from mrctlib.data.cohorts import find_cases
from mrctlib.data.volumes import Volume, read_volume, write_volume
from mrctlib.training.checkpoints import CHECKPOINT


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
    assert "goes on from step 2" in capsys.readouterr().err
    assert (run / CHECKPOINT).read_bytes()[-1000:] == before[-1000:]


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


def test_a_patient_without_a_ct_is_left_out_of_the_evaluation(cohort, tmp_path, capsys):
    whole, lacking = find_cases(cohort)[:2]
    some, sct = tmp_path / "some", tmp_path / "sct"
    sct.mkdir()
    for case in (whole, lacking):
        shutil.copytree(case.folder, some / case.name)
        shutil.copy(case.path("ct"), sct / f"{case.name}.nii.gz")
    (some / lacking.name / "ct.nii.gz").unlink()
    assert main(["evaluate", str(some), str(sct)]) == 0
    said = capsys.readouterr()
    assert "1 of 2 cases have no ct.nii.gz" in said.err and "means over 1 " in said.out
    (some / whole.name / "ct.nii.gz").unlink()
    assert "with a CT" in refused(capsys, "evaluate", some, sct)


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
        (["train", "COHORT", "--out", "RUN", "--steps", "3"], "another recipe"),
        (["train", "COHORT", "--out", "RUN", "--model", "paired", "--steps", "2"], "another recipe"),
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
        (["phantom", "EXISTING"], "exists already"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(command, says, run, cohort, cases, tmp_path, capsys):
    mr = read_volume(cases[0].path("mr"))
    made = {
        "CONSTANT": mr.like(np.full_like(mr.data, 5)),
        "ZERO": mr.like(np.zeros_like(mr.data)),
        "SMALL": Volume(mr.data[2:], mr.affine),
    }
    places = {
        "MISSING": tmp_path / "missing",
        "EMPTY": tmp_path / "empty",
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
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), np.nan, np.float32), np.eye(4)), places["NAN"])
    for name, volume in made.items():
        write_volume(volume, places[name])
    write_volume(mr, places["BADGRID"] / "one" / "mr.nii.gz")
    write_volume(made["SMALL"], places["BADGRID"] / "one" / "ct.nii.gz")
    write_volume(mr.like(mr.data > 50), places["BADGRID"] / "one" / "mask.nii.gz")
    before = {p: p.read_bytes() for p in run.iterdir()}
    line = refused(capsys, *(places.get(word, word) for word in command))
    assert says in line
    assert not any(places[name].exists() for name in ("NEW", "NEW.nii.gz", "NEW.txt"))
    assert {p: p.read_bytes() for p in run.iterdir()} == before


def test_help_is_there_for_a_newcomer():
    for command in ([], ["phantom"], ["train"], ["synthesize"], ["evaluate"]):
        shown = subprocess.run(
            [sys.executable, "-m", "mrctlib.cli", *command, "--help"], capture_output=True, text=True
        )
        assert shown.returncode == 0 and "mrct" in shown.stdout
        assert not command or "example" in shown.stdout
