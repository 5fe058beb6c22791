"""Execute notebooks as the cpu tier and store them with normalised outputs; on real data where MRCT_DATA names some.

Normalised: no widget state, no progress bars, no timings, no machine paths. Each runs in an empty folder, so nothing
comes from an earlier checkpoint.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGETS = "application/vnd.jupyter.widget-view+json"


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what changes from run to run or machine to machine, and what makes GitHub refuse a notebook."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        # stderr holds progress bars and their timings, nothing that a reader needs.
        cell.outputs = [o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr")]
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGETS, None)
            output.get("transient", {}).clear()
    return notebook


def execute(path: Path) -> float:
    """Run a notebook from top to bottom and write it back; returns the seconds it took."""
    os.environ["MRCT_TIER"] = "cpu"
    os.environ.setdefault("MRCT_DATA", "embedded")  # what everybody has, unless real data are asked for
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=900, resources={"metadata": {"path": folder}}).execute()
    seconds = time.perf_counter() - started
    nbformat.write(normalise(notebook), path)
    return seconds


if __name__ == "__main__":
    for name in sys.argv[1:]:
        taken = execute(Path(name))
        print(f"{name}: {taken:.0f} s, {Path(name).stat().st_size // 1024} KB")
