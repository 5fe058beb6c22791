"""Figures are drawn, small and not blank; live views redraw when moved and stay a picture without a kernel."""

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrctlib import plots
from mrctlib.course import widgets
from mrctlib.course.widgets import View, VolumeViewer, slider
from mrctlib.data.volumes import Volume
from mrctlib.runtime import InputError


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


def test_a_viewer_holds_its_volumes_and_is_a_picture_without_a_kernel(volume):
    viewer = VolumeViewer({"CT": volume, "twice": volume.like(2 * volume.data)}, window=(-500, 1300))
    size = 2 * volume.data.size
    np.testing.assert_array_equal(
        np.frombuffer(viewer.voxels[:size], "<i2").reshape(volume.data.shape), volume.data.round()
    )
    assert len(viewer.voxels) == 2 * size and viewer.names == ["CT", "twice"] and viewer.window == [-500, 1300]
    data, metadata = viewer._repr_mimebundle_()
    assert pixels(base64.b64decode(data["image/png"])).std() > 10
    assert "axial" in metadata["image/png"]["alt"] and data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data


def test_a_viewer_refuses_volumes_that_do_not_lie_on_each_other(volume):
    with pytest.raises(InputError, match="one shape"):
        VolumeViewer({"CT": volume, "half": Volume(volume.data[::2], volume.affine)})
    with pytest.raises(InputError, match="one shape"):
        VolumeViewer({})


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js here to run the viewer's own code")
@pytest.mark.parametrize("name", plots.PLANES)
def test_the_page_turns_planes_as_the_library_does(name, tmp_path):
    """The viewer's code, run by itself: the same pixels as `plots.plane`, and the voxel under each of them."""
    data = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    shutil.copy(Path(widgets.__file__).with_name("viewer.js"), tmp_path / "viewer.mjs")
    (tmp_path / "run.mjs").write_text(
        'import { planeOf, greys, voxelAt } from "./viewer.mjs";\n'
        "const volume = Int16Array.from({ length: 60 }, (_, n) => n), shape = [3, 4, 5];\n"
        f"const plane = planeOf(volume, shape, {name!r}, 1), under = [];\n"
        "for (let row = 0; row < plane.rows; row++) for (let column = 0; column < plane.columns; column++) {\n"
        f"  const [r, a, s] = voxelAt(shape, {name!r}, [1, 1, 1], row, column);\n"
        "  under.push(volume[(r * 4 + a) * 5 + s]);\n"
        "}\n"
        "const shades = [...greys(Int16Array.from([-20, 0, 40, 80, 200]), 40, 80)];\n"
        "console.log(JSON.stringify({ pixels: [...plane.pixels], rows: plane.rows, under, shades }));\n"
    )
    said = json.loads(subprocess.run(["node", "run.mjs"], cwd=tmp_path, capture_output=True, check=True).stdout)
    wanted = plots.plane(data, name, 1)
    assert said["pixels"] == said["under"] == wanted.ravel().tolist() and said["rows"] == len(wanted)
    assert said["shades"] == [0, 0, 128, 255, 255]


def test_a_view_without_a_kernel_is_a_picture():
    view = View(lambda height: plots.bars({"a": height}, "HU"), "an axial bar", height=slider("height", 0, 9, 2))
    data, metadata = view._repr_mimebundle_()
    assert pixels(base64.b64decode(data["image/png"])).std() > 10
    assert "axial" in metadata["image/png"]["alt"] and data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data
