"""The page for lecturers: what each notebook teaches, and the question bank with its answers, to be printed."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from mrctlib.course.exercises.core import Question, load_all, registry


def page(notebooks: list[Path]) -> str:
    """Markdown: a section for each notebook, with its learning outcomes, its questions, and below them the answers."""
    load_all()
    return "\n\n".join(map(section, notebooks))


def section(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    title = re.match(r"# (.*)", cells[0].source)[1]
    outcomes = re.search(r"able to\*\*\s+(.*?)\n\n\*\*Time", cells[0].source, re.DOTALL)[1]
    asked = [name for cell in cells for name in re.findall(r'question\("([\w.]+)"', cell.source)]
    asked = [registry[name] for name in dict.fromkeys(asked)]
    parts = [f"## {title}", "**Learning outcomes**: students can", outcomes]
    if asked:
        parts += ["**Questions**", numbered(map(question, asked)), "**Answers**", numbered(map(answer, asked))]
    return "\n\n".join(parts)


def numbered(texts) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1))


def question(asked: Question) -> str:
    choices = "".join(
        f"\n   - {letter}) {choice}" for letter, choice in zip("abcdefgh", asked.choices or (), strict=False)
    )
    return asked.text + (choices or (f" *(a number: {asked.unit})*" if asked.unit else " *(a number)*"))


def answer(asked: Question) -> str:
    right = (
        asked.answer
        if asked.choices
        else f"{asked.answer:g}{f' (give or take {asked.tolerance:g})' if asked.tolerance else ''}"
    )
    return f"**{right}**. {asked.explanation}"
