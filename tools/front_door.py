"""The first page of the site: a card for each notebook, read from the notebook itself."""

from __future__ import annotations

import base64
import io
import re
from html import escape
from pathlib import Path

import nbformat
from PIL import Image

WIDTH = 300  # of a card's picture, in pixels


def cards(folder: Path) -> str:
    """HTML: a card for each notebook of a folder, with a picture, its time, what it assumes, and where it opens."""
    return f'<div class="cards">{"".join(map(card, sorted(folder.glob("*.ipynb"))))}</div>'


def card(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    opening, address = cells[0].source, f"{path.parent.name}/{path.stem}.html"
    title = re.match(r"# (.*)", opening)[1]
    time, assumed = re.split(r" \(|[;,]", said(opening, "Time"))[0], said(opening, "Assumed")
    links = re.findall(r"\[(\w+)\]\((http\S+)\)", cells[1].source)
    launch = " · ".join(f'<a href="{url}">{name}</a>' for name, url in links)
    picture, words = first_picture(cells)
    return (
        f'<div class="card-of-notebook"><a href="{address}"><img src="data:image/png;base64,{picture}" '
        f'alt="{escape(words)}"><strong>{escape(title)}</strong></a>'
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
