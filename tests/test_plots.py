"""Figures are drawn, small and not blank; live views redraw when moved and stay a picture without a kernel."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mrctlib import plots
from mrctlib.course.widgets import View, slider, volume_viewer
from mrctlib.data.volumes import Volume


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("L")).astype(float)


@pytest.fixture
def volume(cases) -> Volume:
    return cases[0].volume("ct")


def history():
    row = {"gan": 1.0, "cycle": 2.0, "mr_correlation": 0.1, "bone_ratio": 1.0, "background_hu": -990.0}
    return [row | {"step": step} for step in (1, 2, 3)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda v, body: plots.three_planes({"CT": (v, plots.CT_WINDOW)}),
        lambda v, body: plots.translation(v, v, v.like(v.data + 100), body, title="case"),
        lambda v, body: plots.slices_in_rows({"a": [v.data[:, :, 10] / 1000], "b": [v.data[:, :, 11] / 1000]}),
        lambda v, body: plots.history(history()),
        lambda v, body: plots.bars({"water": 200.0, "model": 100.0}, "HU", highlight="model", floor=12),
    ],
)
def test_every_figure_shows_something_and_stays_small(draw, cases, volume):
    png = plots.png(draw(volume, cases[0].body(volume, "ct")))
    assert pixels(png).std() > 10 and len(png) < 120_000


def test_slices_are_turned_as_radiologists_look_at_them():
    data = np.zeros((3, 4, 5))
    data[2, 3, 4] = 1  # right, front, top
    assert plots.plane(data, "axial", 4)[0, 0] == 1  # front at the top, the patient's right on the left
    assert plots.plane(data, "coronal", 3)[0, 0] == 1
    assert plots.plane(data, "sagittal", 2)[0, 0] == 1  # front on the left


def test_show_prints_words_where_there_is_no_notebook(capsys, volume):
    plots.show(plots.bars({"a": 1.0}, "HU"), "A caption.", "What is to be seen.")
    assert capsys.readouterr().out == "[figure: What is to be seen.]\n"


def test_a_view_redraws_when_a_control_moves():
    drawn = []

    def draw(height):
        drawn.append(height)
        return plots.bars({"a": height}, "HU")

    view = View(draw, "a bar", height=slider("height", 0, 9, 2))
    before = view.image.value
    view.controls["height"].value = 7
    assert drawn == [2, 7] and view.image.value != before


def test_every_control_of_the_viewer_changes_the_picture(volume):
    view = volume_viewer({"CT": volume, "twice": volume.like(2 * volume.data)})
    moves = {"image": "twice", "right": 12, "front": 12, "up": 8, "level": 40, "width": 400}
    assert set(moves) == set(view.controls)
    for name, value in moves.items():
        before = view.image.value
        view.controls[name].value = value
        assert view.image.value != before, name


def test_a_view_without_a_kernel_is_a_picture(volume):
    data, metadata = volume_viewer({"CT": volume})._repr_mimebundle_()
    assert pixels(base64.b64decode(data["image/png"])).std() > 10
    assert "axial" in metadata["image/png"]["alt"] and data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data
