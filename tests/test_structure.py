"""The house: arrows point down, names of this machine stay out, notebooks are as the design wants them."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted([*ROOT.glob("lectures/*.ipynb"), *ROOT.glob("labs/*.ipynb")])
# From the top floor to the ground; a room may import from its own floor's other files only where listed together.
FLOORS = [
    ["cli"],
    ["grading"],
    ["widgets", "exercises"],
    ["plots"],
    ["training"],
    ["explain", "losses", "metrics", "fidelity", "dose", "style", "analogies", "readers", "hallucination"],
    ["models"],
    ["data"],
    ["runtime"],
]


def floor(module: str) -> int:
    room = module.split(".")[1] if "." in module else module
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mrctlib"):
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "mrctlib" else [node.module]
            )
            found |= set(names)
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "mrctlib").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_down(path):
    here = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    if here == "mrctlib.__init__":
        return
    for target in imports(path):
        same_room = target.split(".")[1] == here.split(".")[1]
        assert same_room or floor(target) > floor(here), f"{here} imports {target}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_complete(path):
    notebook = json.loads(path.read_text())
    assert path.stat().st_size < 600_000
    assert "widgets" not in notebook["metadata"]
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code" or not source.strip():
            continue
        assert cell["execution_count"], f"never run: {source[:60]}"
        assert not any(o["output_type"] == "error" for o in cell["outputs"])
        if "NBVAL_CHECK_OUTPUT" in source:
            assert cell["outputs"], f"nothing to check: {source[:60]}"
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                assert output["metadata"].get("image/png", {}).get("alt"), f"no alt text: {source[:60]}"


def test_there_are_notebooks():
    assert NOTEBOOKS


def test_links_follow_the_fork():
    repository = re.search(r'Repository = "https://github.com/([^"]+)"', (ROOT / "pyproject.toml").read_text()).group(1)
    host = r"(?:github\.com|google\.com/github|mybinder\.org/v2/gh)/([\w.-]+/[\w.-]+)"
    for path in [ROOT / "README.md", *NOTEBOOKS]:
        found = set(re.findall(host, path.read_text()))
        assert found == {repository}, f"{path.name} links to {found}"


def test_badges_are_stamped_for_a_fork(tmp_path):
    shutil.copytree(ROOT, tmp_path / "fork", ignore=shutil.ignore_patterns(".venv", "out", ".git", "runs"))
    badges = [sys.executable, str(tmp_path / "fork" / "tools" / "badges.py")]
    assert subprocess.run(badges, capture_output=True).returncode == 2
    subprocess.run([*badges, "somebody/their-fork"], check=True, capture_output=True)
    readme = (tmp_path / "fork" / "README.md").read_text()
    assert "google.com/github/somebody/their-fork/blob" in readme and "gh/somebody/their-fork/" in readme
    assert 'Repository = "https://github.com/somebody/their-fork"' in (tmp_path / "fork" / "pyproject.toml").read_text()


def test_the_readme_says_what_the_notebooks_say_of_their_time():
    said = re.findall(r"\]\(((?:lectures|labs)/\w+\.ipynb)\) \| (.+) \|", (ROOT / "README.md").read_text())
    assert sorted(name for name, _ in said) == [str(path.relative_to(ROOT)) for path in NOTEBOOKS]
    for name, time in said:
        first = "".join(json.loads((ROOT / name).read_text())["cells"][0]["source"])
        assert re.search(rf"\*\*Time\*\*: {time}\b", first), f"{name}: the README says {time}"
