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
# From the top floor to the ground. The course stands on the library; the command line alone reaches into both.
FLOORS = [
    ["cli"],
    ["course"],
    ["plots"],
    ["training"],
    ["losses", "metrics"],
    ["models"],
    ["phantom"],
    ["data"],
    ["runtime"],
]
MODULES = sorted(path for path in (ROOT / "mrctlib").rglob("*.py") if path != ROOT / "mrctlib" / "__init__.py")


def floor(module: str) -> int:
    room = module.split(".")[1]
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


def imports(path: Path) -> set[str]:
    """Every module of the library that a file imports, at the top or late."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "mrctlib":
            found |= {f"mrctlib.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mrctlib."):
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("mrctlib.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_down(path):
    here = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for target in imports(path):
        same_room = target.split(".")[1] == here.split(".")[1]
        assert same_room or floor(target) > floor(here), f"{here} imports {target}"


def lines(paths) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def test_the_library_can_be_read_in_an_afternoon():
    course = [path for path in MODULES if (ROOT / "mrctlib" / "course") in path.parents]  # wherever the clone lies
    exercises = [path for path in course if path.parent.name == "exercises" and path.stem not in ("core", "__init__")]
    shelf = [path for path in course if path.parent.name == "shelf"]  # recipes of shipped models: content, as exercises
    assert lines(set(MODULES) - set(course)) <= 5000
    assert lines(set(course) - set(exercises) - set(shelf)) <= 4820  # with maps, dose, diagrams, diffusion and patches
    assert lines(shelf) <= 830
    assert lines([ROOT / "mrctlib" / "training" / "loop.py"]) <= 150


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_complete(path):
    notebook = json.loads(path.read_text())
    assert path.stat().st_size < 2_500_000
    assert "widgets" not in notebook["metadata"]
    sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    if any(source.startswith("@exercise(") for source in sources):  # an open one says: Stuck? reveal("its name")
        assert any("exercises import" in source and "reveal" in source for source in sources)
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_can_be_opened_where_it_stands_and_says_what_comes_next(path):
    cells, name = json.loads(path.read_text())["cells"], path.relative_to(ROOT)
    assert f"/blob/main/{name})" in "".join(cells[1]["source"]) and f"/tree/{name})" in "".join(cells[1]["source"])
    last = path.stem == "09_after_gans"
    assert last or any("**Next**: " in "".join(cell["source"]) for cell in cells)


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
