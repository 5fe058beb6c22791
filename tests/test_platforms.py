"""Colab, Binder, macOS and Windows, as far as they can be tried from afar.

`make test-colab` goes further, with Colab's versions. What the workflow does on macOS and Windows is run here, on
whatever this machine is; only the workflow itself says whether it works there.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mrctlib.cli import main
from mrctlib.training.checkpoints import read_checkpoint, write_checkpoint

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


@pytest.fixture(scope="module")
def elsewhere() -> dict:
    """The job for macOS and Windows."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8"))
    return workflow["jobs"]["elsewhere"]


def test_macos_and_windows_have_a_job_with_tests_that_exist(elsewhere):
    assert elsewhere["strategy"]["matrix"]["os"] == ["macos-latest", "windows-latest"]
    told = "\n".join(step.get("run", "") for step in elsewhere["steps"])
    files = re.findall(r"tests/\w+\.py", told)
    assert len(files) > 8 and all((ROOT / file).is_file() for file in files)
    for file in files:
        text = (ROOT / file).read_text("utf-8")
        assert not re.search(r"torch\.distributed\.run|os\.kill|/proc/", text), f"{file} needs Linux"


def test_what_the_job_runs_on_the_command_line_works(elsewhere, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in elsewhere["env"].items():
        monkeypatch.setenv(name, value)
    (step,) = (step["run"] for step in elsewhere["steps"] if step.get("name") == "The command line")
    for line in step.splitlines():
        program, *arguments = line.split()
        assert program == "mrct" and main(arguments) == 0, line
    assert (tmp_path / "scores" / "metrics.csv").is_file()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of mapped files here")
def test_a_checkpoint_that_was_read_can_be_replaced_on_windows(tmp_path):
    """There no file can be while some process has it mapped, and safetensors maps what it reads."""
    path = tmp_path / "checkpoint.safetensors"
    about = dict.fromkeys(("belongs_to", "notes", "step", "seconds", "history", "scale"), 0)
    write_checkpoint(path, {"weights": torch.zeros(9)}, about)
    tensors, _ = read_checkpoint(path)
    assert len(tensors["weights"]) == 9 and str(path) not in Path("/proc/self/maps").read_text()
