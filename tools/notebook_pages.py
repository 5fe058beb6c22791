"""What two pages of the site read from the notebooks: a card for each on the first page, and the page for lecturers."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

import nbformat
from PIL import Image

from mrctlib.course.exercises.core import Question, load_all, registry

WIDTH = 300  # of a card's picture, in pixels


def read(path: Path) -> tuple[str, str, list]:
    """Title of a notebook, its opening, and all its cells."""
    cells = nbformat.read(path, as_version=4).cells
    return re.match(r"# (.*)", cells[0].source)[1], cells[0].source, cells


# ---------------------------------------------------------------------------------------------------- cards


def cards(folder: Path) -> str:
    """HTML: a card for each notebook of a folder, with a picture, its time, what it assumes, and where it opens."""
    return f'<div class="cards">{"".join(map(card, sorted(folder.glob("*.ipynb"))))}</div>'


def card(path: Path) -> str:
    title, opening, cells = read(path)
    time, assumed = re.split(r" \(|[;,]", said(opening, "Time"))[0], said(opening, "Assumed")
    links = re.findall(r"\[(\w+)\]\((http\S+)\)", cells[1].source)
    launch = " · ".join(f'<a href="{url}">{name}</a>' for name, url in links)
    picture, words = first_picture(cells)
    return (
        f'<div class="card-of-notebook"><a href="{path.parent.name}/{path.stem}.html">'
        f'<img src="data:image/png;base64,{picture}" alt="{escape(words)}"><strong>{escape(title)}</strong></a>'
        f"<p>{escape(time)}</p><p>Assumed: {escape(assumed)}</p><p>Open in {launch}</p></div>"
    )


def said(opening: str, word: str) -> str:
    """The sentence that the opening has after **word**."""
    return re.search(rf"\*\*{word}\*\*:\s(.*?)(\.\s|\.?$)", opening, re.DOTALL)[1].replace("\n", " ")


def first_picture(cells: list) -> tuple[str, str]:
    """The first picture of a notebook, made small, in base64; and its alt text."""
    outputs = (output for cell in cells for output in cell.get("outputs", []))
    output = next(output for output in outputs if "image/png" in output.get("data", {}))
    image = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
    image.thumbnail((WIDTH, WIDTH))
    small = io.BytesIO()
    image.quantize(64).save(small, format="png", optimize=True)
    return base64.b64encode(small.getvalue()).decode(), output.metadata["image/png"]["alt"]


# ---------------------------------------------------------------------------------------------------- for lecturers


def for_lecturers(notebooks: Iterable[Path]) -> str:
    """Markdown: a section for each notebook, with its learning outcomes, its questions, and below them the answers."""
    load_all()
    return "\n\n".join(map(section, notebooks))


def section(notebook: Path) -> str:
    title, opening, cells = read(notebook)
    outcomes = re.search(r"able to\*\*\s+(.*?)\n\n\*\*Time", opening, re.DOTALL)[1]
    named = [name for cell in cells for name in re.findall(r'question\("([\w.]+)"', cell.source)]
    asked = [registry[name] for name in named]
    parts = [f"## {title}", "**Learning outcomes**: students can", outcomes]
    if asked:
        right = [question.check(question.answer).message for question in asked]
        parts += ["**Questions**", numbered(map(in_full, asked)), "**Answers**", numbered(right)]
    return "\n\n".join(parts)


def numbered(texts: Iterable[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1))


def in_full(question: Question) -> str:
    """A question with its choices, or with the unit of its number."""
    choices = "".join(
        f"\n   - {letter}) {choice}" for letter, choice in zip("abcdefgh", question.choices or (), strict=False)
    )
    return question.text + (choices or f" *(a number{f': {question.unit}' if question.unit else ''})*")
