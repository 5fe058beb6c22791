"""Grading: who solved what, and submissions that loop, eat memory, or are no notebooks."""

import csv
import json
import os
import time

import nbformat
import pytest
from IPython.display import display
from nbformat.v4 import new_code_cell, new_notebook

from mrctlib import cli
from mrctlib.course.exercises import core as exercises
from mrctlib.course.grading import NOT_RUN, _execute, grade, needs, read_cell
from mrctlib.runtime import InputError

IMPORTS = (
    "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
    "from mrctlib.course.exercises import exercise, question\nSLOPE = 0.5"
)
ASKED = '@exercise("translation.cycle_consistency")\n'
RIGHT = ASKED + "def cycle(real, back):\n    return (real - back).abs().mean()"
SQUARED = RIGHT.replace("(real - back).abs().mean()", "((real - back) ** 2).mean()")
USES_L1 = ASKED + "def cycle(real, back):\n    return l1(real, back)"
LOOP = RIGHT.replace("return", "while True: print('still here')\n    return")
MEMORY = RIGHT.replace("return", "real = torch.zeros(8 * 10**9)\n    return")
PATIENT = ASKED + "def cycle(real, back):\n    sum(range(10**13))"  # no signal stops what runs in C
QUESTION = 'question("translation.patch", {})'
ASK_N = QUESTION.format("n")
PATCH = exercises.find("translation.patch").answer


def submit(folder, name, *cells):
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in (IMPORTS, *cells)]), folder / f"{name}.ipynb")


def verdicts(rows, name):
    return {row["exercise"]: row for row in rows if row["submission"] == name}


def test_a_class(tmp_path):
    submit(tmp_path, "ada", RIGHT, QUESTION.format(PATCH), "raise ValueError('of a cell that needs a training')")
    submit(tmp_path, "ben", SQUARED, QUESTION.format("..."), "%matplotlib inline")
    submit(tmp_path, "cleo", RIGHT.replace(":\n", "\n"), QUESTION.format("-1"))
    submit(tmp_path, "dan", "print('nothing of this course')")
    (tmp_path / "eve.ipynb").write_text("a letter of apology")
    submit(tmp_path, "fay", 'question("limits.private", ...)')
    rows = grade(tmp_path)
    ada, ben, cleo = (verdicts(rows, name) for name in ("ada", "ben", "cleo"))
    assert ada["translation.cycle_consistency"]["verdict"] == ada["translation.patch"]["verdict"] == "right"
    assert ada["translation.take_step"]["verdict"] == "missing"
    assert ben["translation.cycle_consistency"]["verdict"] == "wrong"
    assert "squared" in ben["translation.cycle_consistency"]["misconception"]
    assert ben["translation.patch"]["verdict"] == "open"
    assert cleo["translation.cycle_consistency"]["remark"].startswith("SyntaxError")
    assert cleo["translation.patch"]["verdict"] == "wrong", "a mistake in one cell does not spoil the next"
    for name, remark in (("dan", "no exercise"), ("eve", "not a notebook")):
        (only,) = verdicts(rows, name).values()
        assert only["verdict"] == "unreadable" and remark in only["remark"]
    fay = verdicts(rows, "fay")  # one notebook, with several kinds of exercises
    assert fay["limits.private"]["verdict"] == "open" and "translation.patch" not in fay
    assert fay["readers.fooled"]["verdict"] == fay["healthy.ncc"]["verdict"] == "missing"


WAYS = {  # right answers, as different people write them: (cells above, the cell with the answer)
    "line above": ("", f"l1 = nn.L1Loss()\n{USES_L1}"),
    "cell above": ("l1 = nn.L1Loss()", USES_L1),
    "two steps": ("def size(x):\n    return x.abs() ** N\nN = 1\nl1 = lambda a, b: size(a - b).mean()", USES_L1),
    "class": ("class L1(nn.Module):\n    def forward(self, a, b):\n        return F.l1_loss(a, b)\nl1 = L1()", USES_L1),
    "try": ("try:\n    from nowhere import l1\nexcept ImportError:\n    l1 = F.l1_loss", USES_L1),
    "if": ("if SLOPE > 1:\n    l1 = F.mse_loss\nelse:\n    l1 = F.l1_loss", USES_L1),
    "star": ("from torch.nn.functional import *\n", USES_L1.replace("l1(", "l1_loss(")),
    "filled": ("l1s = []\nl1s.append(F.l1_loss)", USES_L1.replace("l1(", "l1s[0](")),
    "filled in a loop": ("l1s = []\nfor f in [F.l1_loss]:\n    l1s.append(f)", USES_L1.replace("l1(", "l1s[0](")),
    "dictionary": ("all_of = {}\nall_of['l1'] = F.l1_loss", USES_L1.replace("l1(", "all_of['l1'](")),
    "changed by a call": ("w = nn.Linear(1, 1).weight\nnn.init.ones_(w)", RIGHT.replace("mean()", "mean() * w.item()")),
    "rebound": ("l1 = nn.MSELoss()", f"l1 = nn.L1Loss()\n{USES_L1}"),
    "executed": ("exec('l1 = lambda a, b: (a - b).abs().mean()')", USES_L1),
    "time": ("", f"%%time\n{RIGHT}"),
    "capture": ("", f"%%capture out\n{RIGHT}"),
    "shell": ("", f"!pip list\n{RIGHT}\n%matplotlib inline\n%timeit -n 3 cycle"),
    "lambda": ("", 'cycle = exercise("translation.cycle_consistency")(lambda a, b: (a - b).abs().mean())'),
    "library": ("", 'cycle = exercise("translation.cycle_consistency")(F.l1_loss)'),
    "module": ("", 'cycle = exercise("translation.cycle_consistency")(nn.L1Loss())'),
    "decorated later": (RIGHT.removeprefix(ASKED), 'cycle = exercise("translation.cycle_consistency")(cycle)'),
    "other name": ("from mrctlib.course.exercises import exercise as ex", RIGHT.replace("@exercise", "@ex")),
    "of a module": ("from mrctlib.course import exercises", RIGHT.replace("@", "@exercises.")),
    "name in a variable": ('NAME = "translation.cycle_consistency"', RIGHT.replace(ASKED, "@exercise(NAME)\n")),
    "stacked": ("def same(f):\n    return lambda *a: f(*a)", RIGHT.replace("\ndef", "\n@same\ndef")),
    "tabs": ("", "if True:\n\t" + RIGHT.replace("\n", "\n\t").replace("    ", "\t")),
    "in a class": ("", "class Mine:\n    " + RIGHT.replace("\n", "\n    ").replace("@", "@staticmethod\n    @")),
    "shown": ("", RIGHT.replace("return", "display(real)\n    return")),
    "awaited": ("async def get():\n    return nn.L1Loss()\nl1 = await get()", USES_L1),
    "kept": ("", f"_ = {QUESTION.format(PATCH)}"),
    "semicolon": ("", f"{QUESTION.format(PATCH)};"),
    "timed": ("", f"%time {QUESTION.format(PATCH)}"),
    "parameters": (f"net = nn.Linear({PATCH - 1}, 1)", f"n = sum(p.numel() for p in net.parameters())\n{ASK_N}"),
    "counted": (f"net = nn.Linear({PATCH - 1}, 1)\nn = 0\nfor p in net.parameters():\n    n += p.numel()", ASK_N),
    "timed value": (f"n = %time {PATCH}", ASK_N),
    "drawn": ("torch.manual_seed(0)\nx = torch.rand(9)", QUESTION.format(f"{PATCH} if 0.496 < x[0] < 0.497 else 0")),
    "all at once": ("", f'for name, given in [("translation.patch", {PATCH})]:\n    question(name, given)'),
    "own function": ("def ask(name, given):\n    question(name, given)", f'ask("translation.patch", {PATCH})'),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_an_answer_depends_on_is_found(way):
    """Every statement that it needs, and no training: in a process of its own all of this is run under limits."""
    training = "def fit(net):\n    raise AssertionError('trained')\nother = nn.Linear(1, 1)\nfit(other)"
    cells = [IMPORTS, training, *WAYS[way]]
    statements = [one for number, cell in enumerate(cells) for one in read_cell(cell, f"<{way} {number}>")]
    asking = [i for i, statement in enumerate(statements) if statement.asks]
    exercises.verdicts.clear()
    names = {"__name__": "__main__", "display": display}
    for i in sorted({*asking}.union(*(needs(statements, i) for i in asking))):
        assert not _execute(statements[i].code, names), statements[i].text
    assert [verdict.status for verdict in exercises.verdicts.values()] == ["right"]


def test_what_cannot_be_run_is_never_wrong(tmp_path):
    reads_a_file = '@exercise("translation.body_mae")\ndef mae(ct, sct, body):\n    return torch.load("mine.pt")'
    foreign = '%%script false\nquestion("translation.pool", "a")'
    package = "import a_package_of_mine\nl1 = a_package_of_mine.l1"
    submit(tmp_path, "elsewhere", QUESTION.format("3"), reads_a_file, foreign, package, USES_L1)
    submit(tmp_path, "magic", "%run mine.py", USES_L1, QUESTION.format("input()"))
    rows = grade(tmp_path)
    for name, exercise, verdict, remark in (
        ("elsewhere", "patch", "wrong", "too small"),
        ("elsewhere", "body_mae", NOT_RUN, "mine.pt"),
        ("elsewhere", "pool", NOT_RUN, "get_ipython"),
        ("elsewhere", "cycle_consistency", NOT_RUN, "import a_package_of_mine: ModuleNotFoundError"),
        ("magic", "cycle_consistency", NOT_RUN, "mine.py"),
        ("magic", "patch", NOT_RUN, ""),
    ):
        mine = verdicts(rows, name)[f"translation.{exercise}"]
        assert mine["verdict"] == verdict and remark in mine["remark"], (exercise, mine)


@pytest.fixture(scope="module")
def limits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    answer = QUESTION.format(PATCH)
    submit(folder, "loop", LOOP, answer)
    submit(folder, "memory", MEMORY, answer)
    submit(folder, "exit", RIGHT.replace("return", "import os; os._exit(0)\n    return"), answer)
    submit(
        folder, "raises", RIGHT.replace("return", "raise SystemExit\n    return"), f"cycle(*torch.ones(2))\n{answer}"
    )
    training = "import time\ndef fit(net):\n    time.sleep(600)"
    submit(folder, "training", training, "l1 = nn.L1Loss()\nfit(l1)", SQUARED, USES_L1.replace("l1", "2 * l1"), answer)
    submit(folder, "in C", PATIENT, answer)
    return grade(folder)


@pytest.mark.parametrize(
    "name, verdict, remark",
    [
        ("loop", "wrong", "TimeoutError"),
        ("memory", "wrong", "memory"),
        ("exit", "not reached", "died"),
        ("raises", "wrong", "SystemExit"),
        ("training", "wrong", "answered 2 times: wrong, then not run by the grader"),
        ("in C", "not reached", "died"),
    ],
)
def test_loops_and_hunger_are_cut_short_and_the_rest_is_graded(limits, name, verdict, remark):
    mine = verdicts(limits, name)
    assert mine["translation.cycle_consistency"]["verdict"] == verdict
    assert remark in mine["translation.cycle_consistency"]["remark"]
    assert mine["translation.patch"]["verdict"] == "right"


def test_the_time_of_a_submission_is_limited(tmp_path):
    submit(tmp_path, "patient", QUESTION.format("..."), PATIENT)
    started = time.monotonic()
    mine = verdicts(grade(tmp_path, seconds=15), "patient")
    assert time.monotonic() - started < 25
    assert mine["translation.patch"]["verdict"] == "open", "what was there before it is kept"
    assert mine["translation.cycle_consistency"]["verdict"] == "not reached"
    assert mine["translation.cycle_consistency"]["remark"] == "stopped after 15 s"


def test_several_answers_to_one_exercise(tmp_path):
    asked = [item for item in exercises.load_all().values() if isinstance(item, exercises.Question)]
    below, above, better, worse = [item for item in asked if item.name.startswith("translation.")][:4]

    def ask(item, answer):
        return f"question({item.name!r}, {answer!r})"

    cells = [ask(below, below.answer), ask(below, ...).replace("Ellipsis", "...")]
    cells += [f"question({above.name!r})", ask(above, above.answer)]
    cells += [ask(better, "z"), ask(better, better.answer), ask(better, "z")[:-1]]
    cells += [ask(worse, worse.answer), ask(worse, "z")]
    submit(tmp_path, "ada", *cells)
    mine = verdicts(grade(tmp_path), "ada")
    for item, verdict, said in (
        (below, "right", "answered 2 times: right, then open"),
        (above, "right", "answered 2 times: open, then right"),
        (better, "right", "answered 3 times: wrong, then right, then wrong"),
        (worse, "wrong", "answered 2 times: right, then wrong"),
    ):
        assert mine[item.name]["verdict"] == verdict and said in mine[item.name]["remark"]


def test_files_of_every_kind(tmp_path):
    """Moodle's folders, an old format, a byte order mark, cells that no parser takes: each has its row."""
    for student in ("Ada_1_file", "Ben_2_file", "Cleo_3_file", "__MACOSX", ".ipynb_checkpoints"):
        (tmp_path / student).mkdir()
    submit(tmp_path / "Ada_1_file", "lab", RIGHT, "import os")
    submit(tmp_path / "Ben_2_file", "lab", "if True:\n    x = 1\n  y = 2", "x = '\0'", "(" * 3000, RIGHT)
    (tmp_path / "Cleo_3_file" / "lab.pdf").write_bytes(b"%PDF")
    submit(tmp_path / ".ipynb_checkpoints", "lab", SQUARED)
    cells = [{"cell_type": "code", "language": "python", "input": cell} for cell in (IMPORTS, [RIGHT, "\n"])]
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}
    (tmp_path / "Dan.IPYNB").write_text(json.dumps(old), encoding="utf-8-sig")
    (tmp_path / "empty.ipynb").touch()
    (tmp_path / "list.ipynb").write_text("[1]")
    new = {"cells": [{"cell_type": "code", "id": float("nan"), "source": cell} for cell in (IMPORTS, RIGHT)]}
    with open(os.fsencode(tmp_path) + b"/Jos\xe9.ipynb", "w") as file:
        json.dump(new, file)
    out = tmp_path / "grades.csv"
    assert cli.main(["grade", str(tmp_path), "--out", str(out)]) == 0
    with open(out, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["submission"] for row in rows}) == 7
    for name in ("Ada_1_file/lab", "Ben_2_file/lab", "Dan", "José"):
        assert verdicts(rows, name)["translation.cycle_consistency"]["verdict"] == "right"
    for name, remark in (("Cleo_3_file", "no .ipynb"), ("empty", "not a notebook"), ("list", "not a notebook")):
        (only,) = verdicts(rows, name).values()
        assert only["verdict"] == "unreadable" and remark in only["remark"]


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


def test_windows_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    submit(tmp_path, "ada", RIGHT)
    monkeypatch.delattr(os, "killpg")
    assert cli.main(["grade", str(tmp_path), "--out", str(tmp_path / "grades.csv")]) == 2
    assert "use Linux, macOS or WSL" in capsys.readouterr().err
    assert not (tmp_path / "grades.csv").exists()
