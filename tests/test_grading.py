"""Grading: who solved what, and submissions that loop, eat memory, or are no notebooks."""

import csv
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mrctlib import cli, exercises
from mrctlib.grading import grade, what_exercises_need
from mrctlib.runtime import InputError

IMPORTS = "import torch\nfrom mrctlib.exercises import exercise, question\nSLOPE = 0.5"
RIGHT = '@exercise("translation.cycle_consistency")\ndef cycle(real, back):\n    return (real - back).abs().mean()'
SQUARED = RIGHT.replace("(real - back).abs().mean()", "((real - back) ** 2).mean()")
LOOP = RIGHT.replace("return", "while True: pass\n    return")
MEMORY = RIGHT.replace("return", "real = torch.zeros(8 * 10**9)\n    return")
PATIENT = """
@exercise("translation.cycle_consistency")
def cycle(real, back):
    while True:
        try:
            while True:
                pass
        except Exception:
            pass
"""
QUESTION = 'question("translation.patch", {})'


def submit(folder, name, *cells):
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in (IMPORTS, *cells)]), folder / f"{name}.ipynb")


def verdicts(rows, name):
    return {row["exercise"]: row for row in rows if row["submission"] == name}


def test_a_class(tmp_path):
    answer = exercises.find("translation.patch").answer
    submit(tmp_path, "ada", RIGHT, QUESTION.format(repr(answer)), "raise ValueError('of a cell that needs a training')")
    submit(tmp_path, "ben", SQUARED, QUESTION.format("..."), "%matplotlib inline")
    submit(tmp_path, "cleo", RIGHT.replace(":\n", "\n"), QUESTION.format("-1"))
    submit(tmp_path, "dan", "print('nothing of this course')")
    (tmp_path / "eve.ipynb").write_text("a letter of apology")
    rows = grade(tmp_path)
    ada, ben, cleo = (verdicts(rows, name) for name in ("ada", "ben", "cleo"))
    assert ada["translation.cycle_consistency"]["verdict"] == ada["translation.patch"]["verdict"] == "right"
    assert ada["translation.objective"]["verdict"] == "missing"
    assert ben["translation.cycle_consistency"]["verdict"] == "wrong"
    assert "squared" in ben["translation.cycle_consistency"]["misconception"]
    assert ben["translation.patch"]["verdict"] == "open"
    assert cleo["translation.cycle_consistency"]["remark"].startswith("SyntaxError")
    assert cleo["translation.patch"]["verdict"] == "wrong", "a mistake in one cell does not spoil the next"
    for name, remark in (("dan", "no exercise"), ("eve", "not a notebook")):
        (only,) = verdicts(rows, name).values()
        assert only["verdict"] == "unreadable" and remark in only["remark"]


def test_loops_and_hunger_are_cut_short_and_the_rest_is_graded(tmp_path):
    answer = exercises.find("translation.patch").answer
    submit(tmp_path, "loop", LOOP, QUESTION.format(repr(answer)))
    submit(tmp_path, "memory", MEMORY, QUESTION.format(repr(answer)))
    rows = grade(tmp_path)
    for name, remark in (("loop", "TimeoutError"), ("memory", "memory")):
        mine = verdicts(rows, name)
        assert mine["translation.cycle_consistency"]["verdict"] == "wrong"
        assert remark in mine["translation.cycle_consistency"]["remark"]
        assert mine["translation.patch"]["verdict"] == "right"


def test_what_swallows_the_alarm_is_killed(tmp_path):
    submit(tmp_path, "patient", QUESTION.format("..."), PATIENT)
    started = time.monotonic()
    mine = verdicts(grade(tmp_path, seconds=12), "patient")
    assert time.monotonic() - started < 20
    assert mine["translation.patch"]["verdict"] == "open", "what was there before it is kept"
    assert mine["translation.cycle_consistency"]["verdict"] == "not reached"
    assert mine["translation.cycle_consistency"]["remark"] == "stopped after 12 s"


def test_trainings_are_left_out():
    cell = (
        "import os\nWIDTH, RATES = 3, [0.1]\nnetwork = train()\nfor _ in range(9): train()\nquestion('a.b', 1)\nplot(1)"
    )
    kinds = [type(node).__name__ for node in what_exercises_need(cell)]
    assert kinds == ["Import", "Assign", "Expr"]


def test_command(tmp_path, capsys):
    submit(tmp_path, "ada", RIGHT)
    out = tmp_path / "grades.csv"
    assert cli.main(["grade", str(tmp_path), "--out", str(out)]) == 0
    with open(out) as file:
        rows = list(csv.DictReader(file))
    assert {"submission": "ada", "exercise": "translation.cycle_consistency", "verdict": "right"}.items() <= rows[
        0
    ].items()
    assert "ada" in capsys.readouterr().out
    assert cli.main(["grade", str(tmp_path), "--out", str(out)]) == 2, "nothing is overwritten unasked"
    assert cli.main(["grade", str(tmp_path), "--out", str(out), "--force"]) == 0


def test_no_notebooks(tmp_path):
    with pytest.raises(InputError, match="no .ipynb"):
        grade(tmp_path)
