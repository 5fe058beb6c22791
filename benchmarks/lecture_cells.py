"""Seconds of the slowest cells of each lecture, at the first run and when its trainings start from their checkpoints.

    python benchmarks/lecture_cells.py [lectures/NN_topic.ipynb ...]

The bar: in front of a class (second run) no cell takes over 10 s.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import nbformat
from nbclient import NotebookClient

LECTURES = sorted((Path(__file__).parent.parent / "lectures").glob("*.ipynb"))
BAR = 10.0


def cell_seconds(path: Path) -> list[tuple[float, str]]:
    """(seconds, first line) of each code cell, the slowest first."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=900, record_timing=True, resources={"metadata": {"path": folder}}).execute()
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.strip():
            times = cell.metadata["execution"]
            begun, ended = (
                datetime.fromisoformat(times[key].replace("Z", "+00:00"))
                for key in ("iopub.execute_input", "shell.execute_reply")
            )
            found.append(((ended - begun).total_seconds(), cell.source.strip().splitlines()[0][:60]))
    return sorted(found, reverse=True)


def main() -> None:
    os.environ |= {"MRCT_TIER": "cpu", "MRCT_DATA": "embedded"}
    for path in [Path(name) for name in sys.argv[1:]] or LECTURES:
        with tempfile.TemporaryDirectory() as kept:
            os.environ["MRCT_CHECKPOINTS"] = kept
            first, second = cell_seconds(path), cell_seconds(path)
            size = sum(file.stat().st_size for file in Path(kept).rglob("*") if file.is_file()) / 1e6
        sums = [sum(seconds for seconds, _ in times) for times in (first, second)]
        print(f"{path.stem}: {sums[0]:.0f} s, then {sums[1]:.0f} s; {size:.0f} MB of checkpoints")
        for seconds, line in second[:3]:
            print(f"  {seconds:5.1f} s {'over the bar' if seconds > BAR else '':<13} {line}", flush=True)


if __name__ == "__main__":
    main()
