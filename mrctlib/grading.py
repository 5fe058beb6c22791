"""Grading: the exercises of submitted notebooks, run again, each submission in a process of its own.

Of a notebook only what an exercise needs is run: imports, functions, classes, constants and the answers to questions.
Trainings and figures are left out, so a submission takes seconds. A process limits time and memory; it is no fence
against a submission that means harm: grade those in a container.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from mrctlib import exercises
from mrctlib.runtime import InputError, cpus_allowed, progress

COLUMNS = ("submission", "exercise", "verdict", "misconception", "remark")
SECONDS_A_CALL = 3  # for each of the calls with which an exercise is tried
ASKED = re.compile(r"""\b(?:exercise|question)\(\s*["']([\w.]+)["']""")


def grade(folder: str | Path, *, seconds: float = 60, memory_mb: int = 1000) -> list[dict[str, str]]:
    """One row of `COLUMNS` for each exercise of each file in `folder` that ends in .ipynb, sorted by name.

    verdict: "right", "wrong", "open", "missing" (a lab's exercise that the notebook does not have), "not reached" (the
    time was over, or the process died) or "unreadable" (no notebook; then `exercise` is empty). misconception: the hint
    of the known wrong answer that it matches. seconds: for a whole submission; memory_mb: what it may take beyond that
    of the libraries, in MiB.

    Raises:
        InputError: no such folder, or no notebook in it.
    """
    notebooks = sorted(Path(folder).glob("*.ipynb"))
    if not notebooks:
        raise InputError(f"{folder}: no .ipynb in it; put the submissions into one folder, each with its author's name")
    rows = []
    with ThreadPoolExecutor(cpus_allowed()) as at_once:  # each thread only waits for its process
        graded = at_once.map(lambda path: grade_one(path, seconds, memory_mb), notebooks)
        for path, found in zip(
            notebooks, progress(graded, "grading", total=len(notebooks), unit="notebook"), strict=True
        ):
            rows += [{"submission": path.stem} | row for row in found]
    return [{column: row.get(column, "") for column in COLUMNS} for row in rows]


def grade_one(path: Path, seconds: float, memory_mb: int) -> list[dict[str, str]]:
    """The rows of one notebook, without its name."""
    try:
        asked = list(dict.fromkeys(name for cell in code_cells(path) for name in ASKED.findall(cell)))
    except InputError as error:
        return [{"verdict": "unreadable", "remark": str(error)}]
    labs = dict.fromkeys(name.partition(".")[0] for name in asked)
    of_labs = [name for name in exercises.load_all() if name.partition(".")[0] in labs]
    if not of_labs:
        return [{"verdict": "unreadable", "remark": "no exercise of this course in it"}]
    found, remark = _verdicts(path, seconds, memory_mb)
    rows = []
    for name in dict.fromkeys([*asked, *of_labs]):
        lacking = {"verdict": "not reached", "remark": remark} if name in asked else {"verdict": "missing"}
        rows.append({"exercise": name} | found.get(name, lacking))
    return rows


def code_cells(path: Path) -> list[str]:
    """The code cells of a notebook, as plain Python.

    Raises:
        InputError: the file is no notebook.
    """
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        plain = TransformerManager()  # turns %magic and !shell lines into calls, which are not run
        return [plain.transform_cell(source) for source in sources]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{path.name}: is not a notebook ({type(error).__name__})") from error


def what_exercises_need(cell: str) -> Iterator[ast.stmt]:
    """The statements of a cell that are run: imports, definitions, assignments without a call, and questions.

    Raises:
        SyntaxError: the cell is no Python.
    """
    for node in ast.parse(cell).body:
        asks = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ASKED.match(ast.unparse(node))
        simple = isinstance(node, ast.Assign | ast.AnnAssign) and not any(
            isinstance(part, ast.Call) for part in ast.walk(node)
        )
        if asks or simple or isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
            yield node


def _verdicts(path: Path, seconds: float, memory_mb: int) -> tuple[dict[str, dict[str, str]], str]:
    """(what a process of its own found, by exercise; why it found no more)."""
    with tempfile.TemporaryDirectory() as away:
        results = Path(away) / "verdicts.jsonl"
        results.touch()
        command = [sys.executable, "-m", "mrctlib.grading", str(path.resolve()), str(results), str(memory_mb)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=away, env=one_thread, start_new_session=True, **quiet)
        try:
            code = process.wait(seconds)
            why = f"the process ended with {code}" if code else ""
        except subprocess.TimeoutExpired:
            why = f"stopped after {seconds:g} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
            process.wait()
        rows = [json.loads(line) for line in results.read_text().splitlines()]
    return {row.pop("exercise"): row for row in rows}, why


# ---------------------------------------------------------------------------------------------------- the process


def _run(path: Path, results: Path, memory_mb: int) -> None:
    """Run what exercises need, and write each verdict as soon as it is there."""
    names: dict[str, object] = {"__name__": "__main__"}
    exercises.load_all()
    _limit_memory(memory_mb)
    signal.signal(signal.SIGALRM, _too_slow)
    for cell in code_cells(path):
        try:
            nodes = list(what_exercises_need(cell))
        except SyntaxError as error:
            for name in ASKED.findall(cell):
                _write(results, name, "wrong", remark=f"SyntaxError: {error.msg}, line {error.lineno} of its cell")
            continue
        for node in nodes:
            _run_one(node, names, results)


def _run_one(node: ast.stmt, names: dict[str, object], results: Path) -> None:
    exercises.verdicts.clear()
    error = ""
    signal.setitimer(signal.ITIMER_REAL, SECONDS_A_CALL, SECONDS_A_CALL)  # again and again: each trial may loop
    try:
        exec(compile(ast.Module([node], []), "<submission>", "exec"), names)
    except BaseException as caught:  # also SystemExit: the next exercise is graded all the same
        error = f"{type(caught).__name__}: {caught}".splitlines()[0]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    for name, verdict in exercises.verdicts.items():
        known = verdict.misconception or ""
        _write(results, name, verdict.status, known, remark="" if known else verdict.message)
    if error:
        for name in set(ASKED.findall(ast.unparse(node))) - set(exercises.verdicts):
            _write(results, name, "wrong", remark=error)


def _write(results: Path, name: str, verdict: str, misconception: str = "", remark: str = "") -> None:
    if verdict in ("right", "open"):
        remark = ""  # what a question explains or asks is no remark on the answer
    row = {"exercise": name, "verdict": verdict, "misconception": misconception, "remark": remark}
    with open(results, "a") as file:
        file.write(json.dumps(row) + "\n")


def _limit_memory(memory_mb: int) -> None:
    """Let the process take so much more than it has: then torch and numpy raise an error, and nothing else dies."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; elsewhere only the time is limited
        import resource  # not on Windows, where the command line has other uses

        now = int(re.search(r"VmData:\s+(\d+) kB", status.read_text())[1]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (now + memory_mb * 2**20,) * 2)


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"it takes longer than {SECONDS_A_CALL} s")


if __name__ == "__main__":
    _run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
