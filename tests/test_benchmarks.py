"""Every benchmark runs, on as little as it can be given."""

import importlib.util
import sys
from pathlib import Path

import nbformat
import pytest
import torch
import torch._dynamo

from mrctlib.phantom.head import write_cohort

FOLDER = Path(__file__).parent.parent / "benchmarks"
# What each is called with, and what it must say.
RUNS = {
    "comparison_rates": (["heads", "--steps", "1", "--out", "rates", "--into", "rates.json"], "rates times 0.33: "),
    "gpu": (["--smoke", "--out", "card.json"], "card.json"),
    "gpu_minutes": (["tiny.ipynb"], "by calculation: no GPU has run this"),
    "grading": ([], "submissions of lab 8"),
    "lecture_cells": (["tiny.ipynb"], "tiny: "),
    "memory_of_training": (["--patients", "4", "--slices", "20", "--steps", "2"], "two processes"),
    "memory_of_synthesis": (["--shape", "64x64x16"], "synthesis of 64 x 64 x 16: "),
    "real_pair": (["--seeds", "1", "--cases", "5", "--steps", "1"], "all water"),
    "segmentation": (["--seconds", "0.05", "--seeds", "1", "--patients", "2"], "sliding window: mean Dice"),
    "translation_quality": (
        ["--seeds", "1", "--cases", "5", "--steps", "1", "--models", "paired", "published"],
        "noise floor",
    ),
    "translation_step": (["--rounds", "1"], "ratio to ours"),
}


def test_none_is_forgotten():
    assert sorted(RUNS) == sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", RUNS)
def test_it_runs(name, tmp_path, monkeypatch, capsys):
    arguments, said = RUNS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(FOLDER)  # as it is for a script
    monkeypatch.setenv("MRCT_TIER", "cpu")
    monkeypatch.setenv("MRCT_DATA", "embedded")
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    if name == "real_pair":  # a phantom patient stands in for it
        monkeypatch.setenv("MRCT_DATA", str(tmp_path))
        write_cohort(tmp_path / "heads", 1, shape=(40, 40, 30))
        (tmp_path / "mr_ct").mkdir()
        (tmp_path / "heads" / "phantom_0_000").rename(tmp_path / "mr_ct" / "1MNI01")
    if name == "comparison_rates":
        write_cohort(tmp_path / "heads", 10, shape=(40, 40, 24))
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), "tiny.ipynb")
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    if name == "grading":  # a class of two; no submission that has to run into the limit of time
        monkeypatch.setattr(benchmark, "STUDENTS", 2)
        monkeypatch.setattr(benchmark, "FOR_EVER", "raise ValueError")
    with torch._dynamo.config.patch(disable=True):  # a minute of compiling for a CPU would tell nothing
        benchmark.main()
    assert said in capsys.readouterr().out
