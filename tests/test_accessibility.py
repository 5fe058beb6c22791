"""Figures for everybody: words for every picture, and colours that the colour-blind can tell apart.

Keyboard reach of the widgets is tried in a real browser (tests/browser).
"""

import ast
import base64
import io
import itertools
import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from mrctlib import plots

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted([*ROOT.glob("lectures/*.ipynb"), *ROOT.glob("labs/*.ipynb")])
# Even steps of lightness, in one hue or several, and pairs of hues that Brewer lists as safe; none of the rainbow.
SAFE_MAPS = {"gray", "grey", "bone", "viridis", "cividis", "magma", "inferno", "plasma"}
SAFE_MAPS |= {"Blues", "Greys", "Oranges", "Purples", "Reds", "RdBu", "PiYG"}
# What a person without one kind of cone sees, as linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TELLS_APART = 10  # CIEDE2000; about 1 is the least that is seen at all, side by side
WORDS = 20  # characters, the least that can say what is to be seen


def seen_by(colours: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
    """sRGB colours (N, 3) from 0 to 1 as that person sees them."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(matrix).T, 0, 1)
    return np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)


def smallest_difference(colours: np.ndarray) -> float:
    lab = rgb2lab(colours[None])[0]
    return min(deltaE_ciede2000(a, b) for a, b in itertools.combinations(lab, 2))


def code(path: Path) -> str:
    if path.suffix == ".py":
        return path.read_text()
    return "\n".join("".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_has_words_of_its_own(path):
    said = []
    for cell in json.loads(path.read_text())["cells"]:
        for output in cell.get("outputs", []):
            for kind in output.get("data", {}):
                if kind.startswith("image/"):
                    alt = output["metadata"].get(kind, {}).get("alt", "")
                    assert len(alt) >= WORDS, f"says too little: {alt!r}, under {''.join(cell['source'])[:60]}"
                    said.append(alt)
        if cell["cell_type"] == "markdown":
            assert not re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=.)", "".join(cell["source"])), "no alt text"
    assert said


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_line_colours_are_told_apart(blindness):
    colours = np.array([matplotlib.colors.to_rgb(colour) for colour in plots.COLOURS])
    assert smallest_difference(seen_by(colours, BLINDNESS[blindness])) > TELLS_APART
    red_and_green = np.array([[0.8, 0.2, 0.2], [0.4, 0.5, 0.1]])
    if blindness == "deuteranopia":
        assert smallest_difference(red_and_green) > smallest_difference(seen_by(red_and_green, BLINDNESS[blindness]))


@pytest.mark.parametrize("path", [*(ROOT / "mrctlib").rglob("*.py"), *NOTEBOOKS], ids=lambda path: path.stem)
def test_colour_maps_are_safe(path):
    words = {str(node.value) for node in ast.walk(parsed(code(path))) if isinstance(node, ast.Constant)}
    assert {word.removesuffix("_r") for word in words & set(matplotlib.colormaps)} <= SAFE_MAPS


def parsed(source: str) -> ast.Module:
    return ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_picture_is_blank(path):
    for cell in json.loads(path.read_text())["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"])))
                assert np.asarray(picture.convert("L")).std() > 3, f"blank: {''.join(cell['source'])[:60]}"
