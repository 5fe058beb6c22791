"""Turn executed notebooks into slide decks: one HTML file each, with everything in it. Nothing is loaded from the web.

nbconvert makes the slides from the notebooks' slide types; reveal.js, which shows them, comes out of sphinx-revealjs,
a package that carries it whole; formulas become MathML, which browsers draw by themselves.
"""

from __future__ import annotations

import ast
import base64
import copy
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import SlidesExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

CODE_STYLE = "xcode"  # of the styles that come with Pygments, the one whose colours all stand out on light grey
PICTURE = "image/png"
STARTS = ("slide", "subslide")
LINES, CHARACTERS, PIXELS_A_LINE = 24, 96, 27  # what a slide of 1280 x 720 holds of code, a little shrunk
TEXT_OVER_CODE = 1.2  # the height of their lines, empty ones counted
SHOWS = r"plots\.show|show_maps|question|View\("  # the calls after which there is nothing more to read


def reveal_folder() -> Path:
    """The folder with reveal.js's `dist` and `plugin`.

    Raises:
        ModuleNotFoundError: sphinx-revealjs is not installed, or carries no reveal.js.
    """
    package = importlib.util.find_spec("sphinx_revealjs")
    found = package and next(Path(package.origin).parent.rglob("dist/reveal.js"), None)
    if not found:
        raise ModuleNotFoundError("no reveal.js here: pip install -e '.[slides]'")
    return found.parent.parent


class Renderer(IPythonRenderer):
    """Markdown to HTML, with formulas as MathML and without pictures from the web (badges)."""

    def inline_math(self, body: str) -> str:
        return convert(body)

    def block_math(self, body: str) -> str:
        return convert(body, display="block")

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return text if url.startswith("http") else super().image(text, url, title)


class DeckExporter(SlidesExporter):
    """A notebook to one HTML file with reveal.js in it."""

    def __init__(self, **options) -> None:
        here = Path(__file__).parent
        super().__init__(
            template_name="slides",
            extra_template_basedirs=[str(here)],
            extra_template_paths=[str(reveal_folder())],
            exclude_input_prompt=True,
            exclude_output_prompt=True,
            **options,
        )

    def default_filters(self) -> Iterator:
        yield from super().default_filters()
        markdown = MarkdownWithMath(renderer=Renderer(escape=False, exclude_anchor_links=True))
        yield "markdown2html", markdown.render

    def _init_resources(self, resources: dict | None) -> dict:
        resources = super()._init_resources(resources)
        resources["code_css"] = HtmlFormatter(style=CODE_STYLE).get_style_defs(".highlight")
        return resources

    def from_notebook_node(self, nb: NotebookNode, resources: dict | None = None, **options) -> tuple[str, dict]:
        return super().from_notebook_node(for_projector(nb), resources, **options)


def slide_type(cell: NotebookNode) -> str:
    return cell.metadata.get("slideshow", {}).get("slide_type", "-")


def for_projector(notebook: NotebookNode) -> NotebookNode:
    """A copy for a deck: code that draws is left out, and what a slide cannot hold goes on on the next.

    Each section's minutes, from its notes, are shared among its slides: the speaker view then tells who is late.
    """
    parts, used = [], 0.0
    for part in (part for cell in notebook.cells if slide_type(cell) != "skip" for part in take_apart(cell)):
        height = height_in_lines(part)
        if slide_type(part) in STARTS or (used + height > LINES and height):
            used = 0.0
            if slide_type(part) not in STARTS:
                part.metadata["slideshow"] = {"slide_type": "subslide"}
        used += height
        parts.append(part)
    for section in sections(parts):
        slides = [part for part in section if slide_type(part) in STARTS]
        for slide in slides:
            slide.metadata["seconds"] = round(60 * minutes(section) / len(slides))
    return nbformat.from_dict(notebook | {"cells": parts})


def take_apart(cell: NotebookNode) -> Iterator[NotebookNode]:
    """Copies of a cell's text, or of its code and of each of its outputs."""
    cell = copy.deepcopy(cell)
    outputs = cell.pop("outputs", [])
    if cell.cell_type == "code":
        cell.source, cell.outputs = to_read(cell.source), []
    if cell.source:
        yield cell
    for number, output in enumerate(outputs):
        slideshow = {"slide_type": "-" if number or cell.source else slide_type(cell)}
        metadata = {"slideshow": slideshow, "transient": {"remove_source": True}}
        yield nbformat.v4.new_code_cell(outputs=[output], metadata=metadata)


def to_read(source: str) -> str:
    """The source up to its first statement that draws or shows: the slide has what that makes."""
    lines = source.removeprefix("# NBVAL_CHECK_OUTPUT\n").splitlines()
    for statement in ast.parse("\n".join(lines)).body:
        written = ast.unparse(statement)
        if "new_figure(" in written or re.match(SHOWS, written):
            first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
            lines = lines[: first - 1]
            break
    kept = "\n".join(line.removesuffix("  # fmt: skip") for line in lines)
    return re.sub(r"\n{3,}", "\n\n", kept).strip()


def height_in_lines(part: NotebookNode) -> float:
    """About how many lines of code a part is as high as. Notes need no room, and a caption stays with its figure."""
    if slide_type(part) == "notes":
        return 0
    if part.cell_type == "markdown":
        return TEXT_OVER_CODE * count_lines(part.source)
    if part.source:
        return count_lines(part.source) + 1
    (output,) = part.outputs
    data = output.get("data", {})
    if PICTURE in data:
        height = int.from_bytes(base64.b64decode(data[PICTURE][:32])[20:24])  # a PNG says it in its header
        output.metadata.setdefault(PICTURE, {})["height"] = height
        return height / PIXELS_A_LINE
    text = data.get("text/markdown") or data.get("text/plain") or output.get("text", "")
    return 0 if text.startswith("*") else count_lines(text) + 1


def count_lines(text: str) -> int:
    return sum(1 + len(line) // CHARACTERS for line in text.splitlines())


def sections(cells: list[NotebookNode]) -> list[list[NotebookNode]]:
    """The cells from each cell of type `slide` to the next."""
    starts = [at for at, cell in enumerate(cells) if slide_type(cell) == "slide"]
    return [cells[start:end] for start, end in zip(starts, [*starts[1:], len(cells)], strict=True)]


def minutes(section: list[NotebookNode]) -> float:
    """What the first notes of a section plan for it: they begin with, say, "4 min."; 0 if they do not."""
    notes = (cell.source for cell in section if slide_type(cell) == "notes")
    planned = re.match(r"(\d+) min\.", next(notes, ""))
    return int(planned[1]) if planned else 0


def build(path: Path, folder: Path) -> Path:
    """Write the deck of a notebook into a folder; returns the file."""
    html, _ = DeckExporter().from_filename(str(path))
    deck = folder / f"{path.stem}.slides.html"
    folder.mkdir(parents=True, exist_ok=True)
    deck.write_text(html, encoding="utf-8")
    return deck


if __name__ == "__main__":
    for name in sys.argv[2:]:
        made = build(Path(name), Path(sys.argv[1]))
        print(f"{made}: {made.stat().st_size // 1024} KB")
