"""Every notebook in a real JupyterLab: open it, Run All Cells, look at what came, move every widget in it.

It takes as long as the notebooks take, so its name keeps it out of `make test`: `make test-browser` asks for it.
"""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("playwright.sync_api", reason="no playwright here: make test-browser installs it")

from playwright.sync_api import Page
from student import Student, View, jupyterlab, move

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted([*ROOT.glob("lectures/*.ipynb"), *ROOT.glob("labs/*.ipynb")])
SECONDS = 1200  # a notebook that has not ended by then hangs


def without_effect(view: View) -> list[str]:
    """The controls that change nothing. One may have a say only when another has moved (a square of size 0 can be put
    anywhere), so all are moved up to three times."""
    still = list(view.controls)
    for _ in range(3):
        for control in view.controls:
            if view.changes_with(move, control) and control in still:
                still.remove(control)
        if not still:
            break
    return [control.inner_text() for control in still]


def look_at(path: Path, folder: Path, page: Page, shot: Callable[..., None]) -> None:
    """Run a notebook from top to bottom in a JupyterLab of its own, whose memory goes with it, and move everything."""
    name = f"{path.parent.name}/{path.stem}"
    notebook = nbformat.read(path, as_version=4)
    # A cell that ends with a view has stored a picture as its result; other pictures are only displayed.
    results = [output for cell in notebook.cells for output in cell.get("outputs", []) if output.get("execution_count")]
    stored = sum("image/png" in result.data for result in results)
    with jupyterlab(folder) as lab:
        student = Student(page, lab, path.name, notebook)
        seconds = student.run_all(SECONDS)
        views = student.views()
        print(f"\n{name}: {seconds:.0f} s, {len(views)} live views")
        assert not (faults := student.faults()), faults
        assert len(views) == stored, f"{name} has stored {stored} views"
        for number, view in enumerate(views):
            assert not (dead := without_effect(view)), f"view {number} of {name}: {dead} change nothing"
            shot(f"{name.replace('/', '_')}_{number}", view.image)


@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_notebook(path, tmp_path, page, shot):
    look_at(path, tmp_path, page, shot)
