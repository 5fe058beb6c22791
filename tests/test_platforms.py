"""Colab and Binder, as far as they can be tried from afar; `make test-colab` goes further, with Colab's versions."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted([*ROOT.glob("lectures/*.ipynb"), *ROOT.glob("labs/*.ipynb")])
NEEDED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


@pytest.fixture(scope="module")
def colab() -> dict[str, str]:
    """Colab's packages: name and version."""
    lines = [line for line in (ROOT / "tests" / "colab.txt").read_text().splitlines() if not line.startswith("#")]
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in requirements}


@pytest.mark.parametrize("needed", [Requirement(line) for line in NEEDED], ids=lambda r: r.name)
def test_colab_has_what_mrctlib_needs(needed, colab):
    assert colab[canonicalize_name(needed.name)] in needed.specifier
    assert {bound.operator for bound in needed.specifier} <= {">="}, "an upper bound breaks Colab sooner or later"


def test_all_notebooks_have_the_same_setup_cell():
    notebooks = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
    first = {next(cell.source for cell in notebook.cells if cell.cell_type == "code") for notebook in notebooks}
    assert len(first) == 1
    assert '"--no-deps"' in first.pop()


def test_binder_builds_what_conda_does():
    ours, binders = (ROOT / folder / "environment.yml" for folder in ("", "binder"))
    from_here = binders.read_text().replace("../constraints.txt", "constraints.txt").replace("-e ..", "-e .")
    assert yaml.safe_load(from_here) == yaml.safe_load(ours.read_text())
    assert not binders.is_symlink()


@pytest.fixture(scope="module")
def recipe() -> str:
    """The Dockerfile that repo2docker, and so Binder, makes of this checkout."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(ROOT)]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_binder_finds_what_the_environment_names(recipe):
    update = re.search(r'env update -p \S+ --file "(.+?)"', recipe)
    assert recipe.index(" src/ ") < update.start(), "the checkout must be there before it is installed"
    environment = ROOT / update.group(1)
    # conda and mamba run pip in the folder where the file lies, and do not follow a link to it.
    (pip,) = (d["pip"] for d in yaml.safe_load(environment.read_text())["dependencies"] if isinstance(d, dict))
    options = dict(line.split(maxsplit=1) for line in pip)
    assert (environment.parent / options["-c"]).is_file()
    assert (environment.parent / options["-e"] / "pyproject.toml").is_file()
    assert options["--extra-index-url"].endswith("/whl/cpu"), "a CUDA build does not fit on Binder"
