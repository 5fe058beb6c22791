"""A student's hour at a real JupyterLab, in short: the widgets, an exercise, a training, a restart.

One notebook is run from top to bottom; `make test-browser` does so with every one (every_notebook.py).
"""

import re

import nbformat
import pytest

pytest.importorskip("playwright.sync_api", reason="no playwright here: make test-browser installs it")

from pathlib import Path

from every_notebook import look_at
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect
from student import Student, move

ROOT = Path(__file__).parents[2]
LIGHT = ROOT / "lectures" / "01_convolutional_networks.ipynb"


@pytest.fixture(scope="module")
def page(browser):
    """One window for the whole file: several tests work in the same notebook, as a student does."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        yield context.new_page()


# ---------------------------------------------------------------------------------------------------- widgets

SET_UP = """
import ipywidgets
import numpy as np
import torch

from mrctlib import plots
from mrctlib.data.volumes import Volume
from mrctlib.course.widgets import LivePreview, View, VisualTuringTest, VolumeViewer, slider


def draw(value):
    figure, axes = plots.new_figure(1, 1, width=4, height=2)
    axes[0, 0].text(0.1, 0.4, value, fontsize=30)
    return figure


def cut(view):
    "The same view with its callbacks taken away."
    for control in view.controls.values():
        control.unobserve(view.redraw, names="value")
    for button in getattr(view, "buttons", {}).values():
        button.on_click(*button._click_handlers.callbacks, remove=True)
    return view


def animation():
    frame, player = slider("moment", 0, 99, 4), ipywidgets.Play(max=99, value=4, interval=200)
    ipywidgets.jslink((player, "value"), (frame, "value"))
    view = View(draw, "a number", value=frame)
    view.box.children = (player, *view.box.children)
    return view


noise = Volume(np.random.default_rng(0).uniform(0, 500, (8, 8, 8)), np.eye(4))
half = Volume(noise.data / 2, np.eye(4))
pictures = torch.linspace(-1, 1, 4 * 64).reshape(4, 1, 8, 8)
"""
# Every kind of widget in the notebooks: how it is made, and how many controls it has.
KINDS = {
    "whole-number slider": ("View(draw, 'a number', value=slider('n', 0, 10, 5))", 1),
    "decimal slider": ("View(draw, 'a number', value=slider('x', 0, 1, 0.5, 0.1))", 1),
    "selection slider": ("View(draw, 'a number', value=ipywidgets.SelectionSlider(options=[1, 10, 100]))", 1),
    "drop-down list": ("View(draw, 'a word', value=ipywidgets.Dropdown(options=['MR', 'CT']))", 1),
    "tick box": ("View(draw, 'yes or no', value=ipywidgets.Checkbox())", 1),
    "toggle buttons": ("View(draw, 'a letter', value=ipywidgets.ToggleButtons(options=['A', 'B']))", 1),
    "animation": ("animation()", 2),
    "visual Turing test": ("VisualTuringTest(pictures, torch.tensor([1, 0, 1, 0]))", 2),
}


VIEWER = "VolumeViewer({'whole': noise, 'half': half}, window=(0, 500))"


@pytest.fixture(scope="module")
def widgets(page, lab):
    """A notebook with one widget of each kind, and the same again with the callbacks cut."""
    cells = [SET_UP, "preview = LivePreview(draw, 'a step')\npreview(1)", "preview(2)"]
    cells += ["preview.handle = None\npreview(3)"]
    cells += [f"{made}  # {kind}\n" for kind, (made, _) in KINDS.items()]
    cells += [f"cut({made})  # {kind}, cut\n" for kind, (made, _) in KINDS.items()]
    cells += [VIEWER]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # else JupyterLab asks for one
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=kernel)
    student = Student(page, lab, "widgets.ipynb", notebook)
    student.run(SET_UP)
    return student


@pytest.mark.parametrize("kind", KINDS)
def test_a_hand_moves_every_control_and_the_picture_changes(widgets, kind):
    widgets.run(f"  # {kind}\n")
    view = widgets.view(f"  # {kind}\n")
    assert len(view.controls) == KINDS[kind][1]
    for control in reversed(view.controls):  # the reader of the Turing test makes a difference once somebody answered
        assert view.changes_with(move, control), control.inner_text()
    assert not view.changes_with(lambda: None)
    assert view.image.get_attribute("title"), "a screen reader has nothing to say of the picture"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_hand_notices_a_callback_that_is_gone(widgets, kind):
    widgets.run(f"  # {kind}, cut\n")
    view = widgets.view(f"  # {kind}, cut\n")
    assert len(view.controls) == KINDS[kind][1]
    for control in reversed(view.controls):
        assert not view.changes_with(move, control), control.inner_text()


def test_a_live_preview_changes_in_place_and_the_test_notices_when_it_cannot(widgets):
    image = widgets.run("preview(1)").locator("img")
    first = image.get_attribute("src")
    assert widgets.run("preview(2)").locator("img").count() == 0
    second = image.get_attribute("src")
    assert second != first
    assert widgets.run("preview(3)").locator("img").count() == 1  # its handle is gone: a new picture, elsewhere
    assert image.get_attribute("src") == second


def test_tab_reaches_every_control_and_arrow_keys_move_the_sliders(widgets, page, shot):
    words = "  # whole-number slider\n"
    widgets.run(words)
    view = widgets.view(words)
    widgets.cell(words).locator(".cm-content").click()
    page.keyboard.press("Escape")  # out of the text of the cell, where Tab indents
    for control in view.controls:
        held = control.locator("*:focus")
        for _ in range(12):
            page.keyboard.press("Tab")
            if held.count():
                break
        assert held.count() == 1, f"Tab does not reach {control.inner_text()!r}"
        if held.get_attribute("role") != "slider":
            continue
        for key, up in {"ArrowRight": True, "ArrowLeft": False, "ArrowUp": True, "ArrowDown": False}.items():
            value, drawn = float(held.get_attribute("aria-valuenow")), view.image.get_attribute("src")
            page.keyboard.press(key)
            assert (float(held.get_attribute("aria-valuenow")) > value) == up, f"{key} on {control.inner_text()!r}"
            expect(view.image, f"{key} on {control.inner_text()!r}").not_to_have_attribute("src", drawn)
    shot("slider", view.image)


def test_the_viewer_draws_every_plane_in_the_page(widgets, page, shot):
    output = widgets.run(VIEWER)
    canvases, sliders = output.locator("canvas"), output.locator("input[type=range]")
    expect(canvases).to_have_count(3)
    assert sliders.count() == 5

    def seen():
        return [canvases.nth(n).evaluate("(canvas) => canvas.toDataURL()") for n in range(3)]

    for n, changed in enumerate(((2,), (1,), (0,), (0, 1, 2), (0, 1, 2))):  # sagittal, coronal, axial, level, width
        before = seen()
        sliders.nth(n).focus()
        page.keyboard.press("ArrowRight")
        assert tuple(i for i, (a, b) in enumerate(zip(before, seen(), strict=True)) if a != b) == changed
    before = seen()
    output.locator("select").select_option("half")
    assert all(a != b for a, b in zip(before, seen(), strict=True))
    canvases.nth(0).hover()
    expect(output.locator("output")).to_contain_text("at voxel")
    shot("volume_viewer", output)


# ---------------------------------------------------------------------------------------------------- lab 8

FEWER = {  # the lab as it is, but for a cohort and a training that are small enough to wait for
    "cases=HERE.pick(cpu=40, gpu=20)": "cases=10",
    'recipe = recipe_for("cyclegan", HERE, seed=SEED)': (
        'recipe = replace(recipe_for("cyclegan", HERE, seed=SEED), steps=30, watch_every=5)'
    ),
}
SET_UP_CELL, COHORT, SLICES = "import importlib.util", "cohort = RUNS", "mr_slices, ct_slices ="
TRAIN, LESION, OUTLINED = "\ntraining = TranslationTraining(", "lesion_sct =", "axis.contour("
LIBRARY = "from mrctlib.training.translation import TranslationTraining"
EXERCISE = '@exercise("translation.cycle_consistency")'


LAB8 = ROOT / "labs" / "08_mr_to_ct_cyclegan.ipynb"


def section_of_lab8(number):
    """The code cells of a section, each by its source."""
    cells = nbformat.read(LAB8, as_version=4).cells
    start, end = (
        next(n for n, c in enumerate(cells) if c.source.startswith(f"## {k} ·")) for k in (number, number + 1)
    )
    return [cell.source for cell in cells[start:end] if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def lab8(page, lab):
    notebook = nbformat.read(LAB8, as_version=4)
    for old, new in FEWER.items():
        (cell,) = (cell for cell in notebook.cells if old in cell.source)
        cell.source = cell.source.replace(old, new)
    student = Student(page, lab, "lab8.ipynb", notebook)
    student.run(SET_UP_CELL)
    student.run(LIBRARY)
    return student


def test_an_exercise_is_answered_with_a_hint_and_then_with_a_tick(lab8, shot):
    assert "○ translation.cycle_consistency is open" in lab8.run(EXERCISE).inner_text()
    lab8.write(EXERCISE, "return ((real - reconstructed) ** 2).mean()")
    said = lab8.run(EXERCISE).inner_text()
    assert "✗ translation.cycle_consistency is not right yet" in said and "squared" in said
    shot("exercise_hint", lab8.cell(EXERCISE))
    lab8.write(EXERCISE, "return (real - reconstructed).abs().mean()")
    assert "✓ translation.cycle_consistency is right" in lab8.run(EXERCISE).inner_text()
    shot("exercise_tick", lab8.cell(EXERCISE))


def test_a_training_is_interrupted_and_goes_on_and_the_last_section_is_entered_after_a_restart(lab8, page, shot):
    below = lab8.cell(TRAIN).locator(".jp-Cell-outputWrapper")
    done = re.compile(r"(\d+)/30 \[")
    for words in (COHORT, SLICES, *section_of_lab8(5)):
        lab8.run(words)
    lab8.start(TRAIN)
    preview = below.locator("img")
    preview.wait_for()
    first = preview.get_attribute("src")
    expect(preview).not_to_have_attribute("src", first)  # step 5, then step 10
    page.get_by_role("button", name="Interrupt the kernel").click()
    lab8.finish(TRAIN)
    assert "KeyboardInterrupt: stopped at step" in below.inner_text() and "30 steps" not in below.inner_text()
    assert "of 30; run this again to go on from step" in below.inner_text()
    shot("training_interrupted", below)

    lab8.start(TRAIN)
    expect(below).to_contain_text(done)
    assert int(done.search(below.inner_text()).group(1)) >= 10, "it began again"
    lab8.finish(TRAIN)
    assert "30 steps" in below.inner_text()

    lab8.restart()
    for words in (SET_UP_CELL, LIBRARY, COHORT, SLICES, *section_of_lab8(5), TRAIN):  # as the lab's last section says
        lab8.run(words)
    assert "30 steps" in below.inner_text() and not below.locator("img").count(), "it trained again"
    assert "voxels of calcification" in lab8.run(LESION).inner_text()
    lab8.run(OUTLINED).locator("img").wait_for()
    shot("last_section_after_a_restart", lab8.cell(OUTLINED).locator("img"))


# ---------------------------------------------------------------------------------------------------- a whole notebook


def test_a_notebook_runs_from_top_to_bottom_and_every_control_in_it_works(tmp_path, page, shot):
    look_at(LIGHT, tmp_path, page, shot)
