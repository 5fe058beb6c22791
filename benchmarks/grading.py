"""Seconds to grade a class of 20: lab 8 with right and wrong answers, and three submissions that misbehave.

    python benchmarks/grading.py

Student n answers every exercise; the first n of them wrongly, each with a known misconception. Of the other three, one
loops for ever, one eats memory and one is not a notebook.
"""

from __future__ import annotations

import ast
import tempfile
import time
from collections import Counter
from pathlib import Path

import nbformat

from mrctlib.course.exercises.core import Exercise, find, load_all
from mrctlib.course.grading import grade, named

LAB = Path(__file__).parent.parent / "labs" / "08_mr_to_ct_cyclegan.ipynb"
STUDENTS = 17
FOR_EVER = "while True:\n        pass"
HUNGRY = "import torch\n    return torch.zeros(100_000_000_000)"


def answered(source: str, body: str) -> str:
    """The source of a cell with one exercise's stub, its last statement replaced by `body`."""
    function = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    lines = source.splitlines()[: function.body[-1].lineno - 1]
    return "\n".join([*lines, "    " + body])


def with_answers(wrong: int) -> nbformat.NotebookNode:
    """The lab with every exercise answered, the first `wrong` of them by a known mistake."""
    notebook = nbformat.read(LAB, as_version=4)
    number = 0
    for cell in notebook.cells:
        asked = named(cell.source) if cell.cell_type == "code" else []
        if asked and isinstance(item := find(asked[0]), Exercise):
            function = next(node for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef))
            given = ", ".join(argument.arg for argument in function.args.args)
            which = "wrong[0][0]" if number < wrong else "reference"
            cell.source = answered(
                cell.source,
                f"from mrctlib.course.exercises.core import find; return find({item.name!r}).{which}({given})",
            )
            number += 1
    return notebook


def misbehaving(body: str) -> nbformat.NotebookNode:
    """The lab with every exercise answered by that."""
    notebook = nbformat.read(LAB, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and "@exercise(" in cell.source:
            cell.source = answered(cell.source, body)
    return notebook


def main() -> None:
    load_all()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(STUDENTS):
            nbformat.write(with_answers(number % 9), Path(folder) / f"student_{number:02}.ipynb")
        nbformat.write(misbehaving(FOR_EVER), Path(folder) / "for_ever.ipynb")
        nbformat.write(misbehaving(HUNGRY), Path(folder) / "hungry.ipynb")
        (Path(folder) / "letter.ipynb").write_text("Dear lecturer, my dog ate my notebook.")
        started = time.perf_counter()
        rows = grade(folder)
        seconds = time.perf_counter() - started
    for name in dict.fromkeys(row["submission"] for row in rows):
        print(f"{name:<12}", dict(Counter(row["verdict"] for row in rows if row["submission"] == name)))
    print(f"{STUDENTS + 3} submissions of lab 8: {seconds:.0f} s (bar: 180)")


if __name__ == "__main__":
    main()
