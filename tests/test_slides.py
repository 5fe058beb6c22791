"""The decks: whole in one file, with notes that fit a lecture, and legible from the back of a room.

What a browser makes of them is looked at in browser/test_decks.py.
"""

import ast
import base64
import importlib.util
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import nbformat
import pytest
from matplotlib.colors import to_hex
from pygments.styles import get_style_by_name

from mrctlib import plots

pytest.importorskip("sphinx_revealjs", reason="no reveal.js here: pip install -e '.[slides]'")

ROOT = Path(__file__).parent.parent
LECTURES = sorted((ROOT / "lectures").glob("*.ipynb"))
WIDTH, HEIGHT = 1168, 568  # pixels that a figure may take of a slide of 1280 x 720, see tools/slides
TEXT, SIGN = 4.5, 3.0  # contrast that WCAG 2 asks of text, and of large text and of lines
SMALLEST = 10  # pixels, for the type in figures
FAINT = {"#E69F00", "#56B4E9"}  # for thick lines and areas; no text is set in them


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


slides = load("slides")
each_lecture = pytest.mark.parametrize("path", LECTURES, ids=lambda p: p.stem)


class Deck(HTMLParser):
    """What a deck holds: addresses that are fetched, figures' words, the seconds of its slides, and formulas."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched, self.alts, self.seconds, self.formulas, self.notes = [], [], [], 0, 0
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag in ("script", "link", "img", "iframe", "video", "audio", "source", "object"):
            self.fetched += [values[key] for key in ("src", "href", "data") if values.get(key)]
        if tag == "img":
            self.alts.append(values["alt"])
        if tag == "section" and "data-timing" in values:
            self.seconds.append(int(values["data-timing"]))
        self.formulas += tag == "math"
        self.notes += tag == "aside"


@pytest.fixture(scope="module")
def decks(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("slides")
    return {path.stem: slides.build(path, folder).read_text(encoding="utf-8") for path in LECTURES}


def shown(path: Path) -> list[nbformat.NotebookNode]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if slides.slide_type(cell) not in ("skip", "notes")]


def figures(path: Path) -> list[tuple[str, int, int]]:
    """(cell, width, height) of each figure that is shown."""
    found = []
    for cell in shown(path):
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                header = base64.b64decode(png[:32])
                found.append((cell.id, int.from_bytes(header[16:20]), int.from_bytes(header[20:24])))
    return found


@each_lecture
def test_a_deck_is_whole(path, decks):
    html = decks[path.stem]
    deck = Deck(html)
    assert all(address.startswith("data:") for address in deck.fetched)
    assert not re.search(r"@import|url\((?!['\"]?data:)", "".join(re.findall(r"<style.*?</style>", html, re.S)))
    assert "reveal.js 5" in html and "RevealNotes" in html
    assert len(deck.alts) == len(figures(path)) and all(deck.alts)
    cells = nbformat.read(path, as_version=4).cells
    assert deck.notes == sum(slides.slide_type(cell) == "notes" for cell in cells)


@each_lecture
def test_formulas_are_drawn_by_the_browser(path, decks):
    texts = [
        re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.S)
        for cell in shown(path)
        if cell.cell_type == "markdown"
    ]
    written = sum(len(re.findall(r"\$\$.+?\$\$|\$[^$]+\$", text, re.S)) for text in texts)
    assert Deck(decks[path.stem]).formulas >= written


@each_lecture
def test_every_section_has_notes_and_all_fit_a_lecture(path, decks):
    parts = slides.sections(nbformat.read(path, as_version=4).cells)
    planned = [slides.minutes(section) for section in parts]
    assert all(planned), f"no minutes: {[s[0].source[:40] for s, m in zip(parts, planned, strict=True) if not m]}"
    assert 40 <= sum(planned) <= 95
    # nbconvert writes what a slide says of itself on a section and on the first slide in it
    inner = re.findall(r"<section[^>]*>\s*(?=<section)|<section[^>]*data-timing=\"(\d+)\"", decks[path.stem])
    seconds = sum(map(int, filter(None, inner)))
    assert seconds == pytest.approx(60 * sum(planned), abs=len(inner))


def test_code_that_draws_is_left_out():
    source = "# NBVAL_CHECK_OUTPUT\nx = 1\n\n\n@cache\ndef f():\n    return new_figure(2)\n\n\ny = f()"
    assert slides.to_read(source) == "x = 1"
    assert slides.to_read("plots.show(figure, 'words')") == ""
    assert slides.to_read("print(plots)") == "print(plots)"


def test_what_one_slide_cannot_hold_goes_on_on_the_next():
    def code(lines, slide):
        output = nbformat.v4.new_output("stream", text="row\n" * 12)
        metadata = {"slideshow": {"slide_type": slide}}
        return nbformat.v4.new_code_cell("x = 1\n" * lines, outputs=[output], metadata=metadata)

    notebook = nbformat.v4.new_notebook(cells=[code(3, "slide"), code(20, "fragment"), code(3, "skip")])
    made = slides.for_projector(notebook).cells
    assert [slides.slide_type(cell) for cell in made] == ["slide", "-", "subslide", "subslide"]
    assert [bool(cell.source) for cell in made] == [True, False, True, False]


def test_minutes_are_read_from_the_first_notes():
    def notes(text):
        return nbformat.v4.new_markdown_cell(text, metadata={"slideshow": {"slide_type": "notes"}})

    assert slides.minutes([notes("12 min. Ask."), notes("3 min.")]) == 12
    assert slides.minutes([notes("Ask."), notes("3 min.")]) == 0
    assert slides.minutes([]) == 0


# ------------------------------------------------------------------------------------------------ on a projector


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2: 1 for equal colours, 21 for black on white."""

    def luminance(colour: str) -> float:
        parts = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb(colour)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def rgb(colour: str) -> tuple[float, ...]:
    return matplotlib.colors.to_rgb(colour)


def test_contrast_is_that_of_wcag():
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#777777", "white") == pytest.approx(4.48, abs=0.01)  # the grey that just fails


def test_text_of_the_deck_stands_out():
    css = (ROOT / "tools" / "slides" / "deck.css").read_text()
    written = re.findall(r"[ {]color: (#\w+)", css)
    assert len(written) >= 4
    assert {colour for colour in written if contrast(colour, "white") < TEXT} == set()
    (ground,) = re.findall(r"\.highlight pre {[^}]*background: (#\w+)", css)
    code = {f"#{token['color']}" for _, token in get_style_by_name(slides.CODE_STYLE) if token["color"]}
    assert {colour for colour in code if contrast(colour, ground) < TEXT} == set()


def test_text_and_lines_of_figures_stand_out():
    ground = to_hex(matplotlib.rcParams["axes.facecolor"])
    for name in ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"):
        assert contrast(matplotlib.rcParams[name], ground) > TEXT, name
    assert {colour for colour in plots.COLOURS if contrast(colour, ground) < SIGN} == FAINT
    assert plots.STYLE["lines.linewidth"] >= 2.5


@each_lecture
def test_no_text_is_faint(path):
    faint = {f"plots.COLOURS[{number}]" for number, colour in enumerate(plots.COLOURS) if colour in FAINT}
    for cell in nbformat.read(path, as_version=4).cells:
        for node in ast.walk(ast.parse(cell.source if cell.cell_type == "code" else "")):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("text", "annotate", "set_title"):
                colours = {ast.unparse(word.value) for word in node.keywords if word.arg == "color"}
                assert not colours & faint, f"cell {cell.id}: {ast.unparse(node)[:80]}"


@each_lecture
def test_type_in_figures_is_large_enough(path):
    """The smallest type of the style, at the least scale that a deck shows a figure in."""
    sizes = [size for name, size in plots.STYLE.items() if name.endswith("size")]
    pixels = min(sizes) * plots.STYLE["figure.dpi"] / 72
    small = {cell: round(pixels * min(1, WIDTH / width, HEIGHT / height), 1) for cell, width, height in figures(path)}
    assert {cell: size for cell, size in small.items() if size < SMALLEST} == {}
