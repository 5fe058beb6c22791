"""Run the notebooks' set-up cell as a fresh Colab would, and fail if it changes any package but mrctlib.

Call it with the Python of an environment that holds tests/colab.txt, as `make test-colab` does. One thing stands in
for the real one: where the cell names GitHub, git reads this checkout, as last committed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
PIP = [sys.executable, "-m", "pip"]


def setup_cells() -> set[str]:
    """The first code cell of every notebook: it installs the course where that is missing."""
    paths = [*ROOT.glob("lectures/*.ipynb"), *ROOT.glob("labs/*.ipynb")]
    notebooks = [nbformat.read(path, as_version=4) for path in paths]
    return {next(cell.source for cell in notebook.cells if cell.cell_type == "code") for notebook in notebooks}


def packages() -> set[str]:
    """What is installed here, as name==version."""
    listing = [*PIP, "list", "--format=freeze"]
    return set(subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split())


def run(cell: str) -> None:
    """Run a cell in an empty folder, with git told to read this checkout in place of the course's address."""
    address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    redirect = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT.resolve().as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", cell], cwd=folder, env=os.environ | redirect, check=True)


def main() -> int:
    """Install the course by its own set-up cell; 1 if that changed anything else."""
    subprocess.run([*PIP, "uninstall", "--quiet", "--yes", "mrctlib"], check=True)
    before = packages()
    for cell in setup_cells():
        run(cell)
    changed = sorted(packages() ^ before)
    print(f"{len(before)} packages before; the set-up cell changed: {', '.join(changed) or 'nothing'}")
    return int([line.split("==")[0] for line in changed] != ["mrctlib"])


if __name__ == "__main__":
    sys.exit(main())
