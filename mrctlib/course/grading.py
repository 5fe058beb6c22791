"""Grading: the exercises of submitted notebooks, run again, each submission in a process of its own.

Of a notebook only the answers are run, and what they depend on: the statements above, in whatever cell, that bind a
name which they use or may change what it stands for. Other trainings and figures are left out, so a submission takes
seconds. A process limits time and memory; it is no fence against a submission that means harm: grade those in a
container.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import dis
import faulthandler
import json
import linecache
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import CodeType
from typing import NamedTuple

from IPython.core.inputtransformer2 import TransformerManager
from IPython.display import display

from mrctlib.course.exercises import core as exercises
from mrctlib.runtime import InputError, cpus_allowed, progress

COLUMNS = ("submission", "exercise", "verdict", "misconception", "remark")
NOT_RUN = "not run by the grader"
SECONDS_A_STATEMENT = 5  # for an answer with all its trials, or a statement that it depends on
OURS = {"exercise", "question"}
ASKS, NAMED = re.compile(r"\b(exercise|question)\("), re.compile(r"""(?<!reveal\()["']([\w.]+)["']""")
# Magics that run the Python behind them; what may bind any name, or change every random number; errors that speak of
# something that the student's machine has and this one may lack.
MAGICS = re.compile(r"\A(?:\s*%%(?:time|timeit|capture|prun)\b.*\n?)+|%(?:time|timeit|prun)\b *(?:-\w+ *\d* +)*")
SWEEPING = re.compile(r"import \*|\bexec\(|\b(globals|vars)\(\)|seed\w*\(|_magic\('(run|pylab|store)'")
ELSEWHERE = re.compile(r"\b(ModuleNotFound|Import|FileNotFound|EOF|URL|Connection)Error\b|CUDA|NVIDIA|get_ipython")
TooSlow = type("TimeoutError", (BaseException,), {})  # no Exception, so that `except Exception` does not swallow it


def grade(folder: str | Path, *, seconds: float = 60, memory_mb: int = 1000) -> list[dict[str, str]]:
    """One row of `COLUMNS` for each exercise of each .ipynb in `folder` and the folders in it, sorted by name.

    verdict: "right", "wrong", "open", "missing" (an exercise of its notebook that the submission lacks), "not reached"
    (the time was over, or the process died), `NOT_RUN` (not right here, but what it depends on could not all be run) or
    "unreadable" (no notebook; then `exercise` is empty). misconception: the hint of the known wrong answer that it
    matches. Of several answers to one exercise the last that is right or wrong counts, and the remark says them all.
    seconds: for a whole submission; memory_mb: what it may take beyond that of the libraries, in MiB.

    Raises:
        InputError: no notebook in the folder, or nothing here that stops an answer that loops.
    """
    if not hasattr(os, "killpg"):
        raise InputError("mrct grade: Windows cannot stop answers that loop; use Linux, macOS or WSL")
    folder = Path(folder)
    seen = [p for p in sorted(folder.rglob("*")) if not re.search(r"(^|/)(\.|__)", p.relative_to(folder).as_posix())]
    notebooks = {path for path in seen if path.suffix.lower() == ".ipynb" and not path.is_dir()}
    if not notebooks:
        raise InputError(f"{folder}: no .ipynb in it; put the submissions into one folder, each with its author's name")
    students = {path for path in seen if path.parent == folder and path.is_dir()}
    paths = sorted(notebooks | students.difference(*(path.parents for path in notebooks)))
    rows = []
    with ThreadPoolExecutor(cpus_allowed()) as at_once:  # each thread only waits for its process
        graded = at_once.map(lambda path: grade_one(path, seconds, memory_mb), paths)
        for path, found in zip(paths, progress(graded, "grading", total=len(paths), unit="notebook"), strict=True):
            name = path.relative_to(folder).with_suffix("" if path in notebooks else path.suffix).as_posix()
            # Bytes that are no UTF-8 are taken for Latin-1: one name that cannot be written would lose all grades.
            name = re.sub("[\udc80-\udcff]", lambda byte: chr(ord(byte[0]) - 0xDC00), name)
            rows += [{"submission": name} | row for row in found]
    return [{column: row.get(column, "") for column in COLUMNS} for row in rows]


def grade_one(path: Path, seconds: float, memory_mb: int) -> list[dict[str, str]]:
    """The rows of one notebook, or of a folder that has none; without the submission's name."""
    if path.is_dir():
        return [{"verdict": "unreadable", "remark": "no .ipynb in this folder"}]
    told, why = _told(path, seconds, memory_mb)
    if not (asked := told[0]["asked"]):
        return [{"verdict": "unreadable", "remark": told[0].get("remark", why)}]
    homes, rows = {exercises.homes[name] for name in asked}, []
    for name in dict.fromkeys([*asked, *(name for name in exercises.load_all() if exercises.homes[name] in homes)]):
        answers = [row for row in told if row.get("exercise") == name]
        lacking = {"verdict": "not reached", "remark": why} if why and name in asked else {"verdict": "missing"}
        row = max(reversed(answers), key=lambda row: row["weight"], default=lacking)
        if len(answers) > 1:
            said = f"answered {len(answers)} times: " + ", then ".join(row["verdict"] for row in answers)
            row = row | {"remark": f"{said}. {row['remark']}".rstrip()}
        rows.append(row | {"exercise": name})
    return rows


def _told(path: Path, seconds: float, memory_mb: int) -> tuple[list[dict], str]:
    """(the lines that a process wrote, why it came to no end); an answer that kills it is left out by the next one."""
    end, told, deadly = time.monotonic() + seconds, [{"asked": []}], [-1]
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    here = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as away:
        results = Path(away) / "told.jsonl"
        while True:
            results.write_text("")
            command = [sys.executable, "-m", "mrctlib.course.grading", path.resolve(), results, seconds, memory_mb]
            command = [str(part) for part in command + deadly]
            process = subprocess.Popen(command, cwd=away, env=here, start_new_session=True, **quiet)
            try:
                why = f"the process ended with {process.wait(end - time.monotonic())}"
            except subprocess.TimeoutExpired:
                why = f"stopped after {seconds:g} s"
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
                process.wait()
            lines = [json.loads(line) for line in results.read_text().splitlines()]
            told = max(lines, told, key=len)  # the next process has less time
            reached = [line["at"] for line in lines if "at" in line]
            if not reached or reached[-1] in deadly or time.monotonic() > end:
                return told, "" if reached[-1:] == [-1] else why
            deadly.append(reached[-1])


# ---------------------------------------------------------------------------------------------------- the process


class Statement(NamedTuple):
    """One statement of a notebook; a cell that is no Python is one as well, with its error for its code."""

    text: str
    code: CodeType | Exception
    asks: bool
    defines: bool = False  # an import, a function, a class or an answer: what it reads is looked up later
    reads: frozenset[str] = frozenset()
    binds: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()  # names of things that may be others afterwards


def named(text: str) -> list[str]:
    """The exercises and questions whose names stand in a text, other than to reveal them."""
    return [name for name in dict.fromkeys(NAMED.findall(text)) if name in exercises.registry]


def read_cell(source: str, file: str) -> list[Statement]:
    """The statements of a cell, without its magics."""
    try:
        plain = TransformerManager().transform_cell(MAGICS.sub("", source))
        linecache.cache[file] = (len(plain), None, plain.splitlines(keepends=True), file)  # as IPython does
        return [_statement(node, file) for node in ast.parse(plain, file).body]
    except Exception as error:  # of many kinds: a dedent that fits nothing, zero bytes, a thousand brackets
        return [Statement(source, error, asks=bool(named(source)))]


def _statement(node: ast.stmt, file: str) -> Statement:
    text, code = ast.unparse(node), compile(ast.Module([node], []), file, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    asks = bool(named(text) or ASKS.search(text))
    defines = asks or hasattr(node, "decorator_list")
    defines |= isinstance(getattr(node, "value", node), ast.Import | ast.ImportFrom | ast.Lambda)
    binds = {step.argval for step in dis.get_instructions(code) if step.opname in ("STORE_NAME", "DELETE_NAME")}
    reads, changes = _reads(code), set(re.findall(r"\A(?:del )?(\w+)[.\[]", text))  # layers.append(1), sizes["a"] = 2
    if not defines and any(isinstance(part, ast.Call) for part in ast.walk(node)):  # fit(net, STEPS) may change net
        changes |= {name for name in reads if not re.fullmatch("[A-Z][A-Z0-9_]+", name)}
    if hasattr(node, "body") and not defines:  # `if`, `for`...: it binds, or it does not
        binds, changes = set(), changes | binds
    return Statement(text, code, asks, defines, *map(frozenset, (reads, binds, changes)))


def _reads(code: CodeType) -> set[str]:
    """The global names that a piece of code reads, with the functions in it."""
    here = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return here.union(*(_reads(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def needs(statements: list[Statement], place: int) -> set[int]:
    """Which of the statements above one it depends on: those that bind a name, or may change a thing, that it uses."""
    fixed = set(dir(builtins)).union(*(statement.binds for statement in statements if statement.defines))
    late: set[str] = set()  # what is read by the functions that it calls
    while True:
        names, found = statements[place].reads | late, set()
        for i in reversed(range(place)):
            one = statements[i]
            if names & (one.binds | (one.changes - fixed)) or (names - OURS and SWEEPING.search(one.text)):
                found.add(i)
                names = names - one.binds | one.reads
        more = set().union(*(statements[i].reads for i in found if statements[i].defines))
        if more <= late:
            return found
        late |= more


def _run(path: Path, results: Path, seconds: float, memory_mb: int, deadly: set[int]) -> None:
    """Run the answers of a notebook but the deadly ones, and tell each verdict as soon as it is there."""

    def tell(**line: object) -> None:
        with open(results, "a") as file:
            file.write(json.dumps(line) + "\n")

    exercises.load_all()
    try:
        book = json.loads(path.read_text(encoding="utf-8-sig"))
        cells = [cell for sheet in book.get("worksheets", [book]) for cell in sheet["cells"]]  # worksheets: nbformat 3
        sources = ["".join(cell.get("source", cell.get("input"))) for cell in cells if cell["cell_type"] == "code"]
    except Exception as error:  # of many kinds: whatever can be in a file
        return tell(asked=[], remark=f"{path.name}: is not a notebook ({type(error).__name__})")
    tell(asked=named("\n".join(sources)), remark="no exercise of this course in it")
    statements = [one for number, cell in enumerate(sources, 1) for one in read_cell(cell, f"<cell {number}>")]
    names = {"__name__": "__main__", "display": display} | {name: getattr(exercises, name) for name in OURS}
    failed = dict.fromkeys(deadly, "the process died of it")
    done, left = set(deadly), seconds / 2  # left: for all that is no answer itself
    _limit_memory(memory_mb)
    signal.signal(signal.SIGALRM, _too_slow)
    for here in [place for place, statement in enumerate(statements) if statement.asks]:
        tell(at=here)
        exercises.verdicts.clear()
        wanted = set() if here in deadly else needs(statements, here)
        for i in sorted({*wanted, here} - done):
            started = time.monotonic()
            error = _execute(statements[i].code, names) if i == here or left > 0 else "no time was left"
            left -= time.monotonic() - started if i != here else 0
            if error:
                failed[i] = f"{statements[i].text.splitlines()[0]}: {error}" if i != here else error
            done.add(i)
        missed = next((failed[i] for i in sorted(wanted) if i in failed), "")
        unsaid = (
            "not reached" if here in deadly else "wrong" if isinstance(statements[here].code, Exception) else NOT_RUN
        )
        if here in failed:
            for name in set(named(statements[here].text)).difference(exercises.verdicts):
                tell(exercise=name, verdict=unsaid, remark=missed or failed[here], weight=1)
        for name, said in exercises.verdicts.items():
            if said.status == "wrong" and (missed or ELSEWHERE.search(said.message)):
                tell(exercise=name, verdict=NOT_RUN, remark=missed or said.message, weight=1)
            else:
                hint, remark = said.misconception or "", said.message if said.status == "wrong" else ""
                weight = 0 if said.status == "open" else 2
                tell(
                    exercise=name, verdict=said.status, misconception=hint, remark="" if hint else remark, weight=weight
                )
    tell(at=-1)


def _execute(code: CodeType | Exception, names: dict[str, object]) -> str:
    """Run one statement; what it raised, in a line, or nothing."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS_A_STATEMENT, SECONDS_A_STATEMENT)
    faulthandler.dump_traceback_later(3 * SECONDS_A_STATEMENT, exit=True)  # where no signal stops it
    try:
        if isinstance(code, Exception):
            raise code
        if (waiting := eval(code, names)) is not None:  # a cell may await
            asyncio.run(waiting)
        return ""
    except BaseException as error:  # also SystemExit: the next exercise is graded all the same
        return exercises.first_line(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()


def _limit_memory(memory_mb: int) -> None:
    """Let the process take so much more than it has: then torch and numpy raise an error, and nothing else dies."""
    if (status := Path("/proc/self/status")).exists():  # Linux; elsewhere only the time is limited
        import resource  # not on Windows, where the command line has other uses

        now = int(re.search(r"VmData:\s+(\d+) kB", status.read_text())[1]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (now + memory_mb * 2**20,) * 2)


def _too_slow(*_: object) -> None:
    raise TooSlow(f"it takes longer than {SECONDS_A_STATEMENT} s")


if __name__ == "__main__":
    path, results, seconds, memory_mb, *deadly = sys.argv[1:]
    _run(Path(path), Path(results), float(seconds), int(memory_mb), set(map(int, deadly)))
