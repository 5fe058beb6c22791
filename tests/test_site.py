"""The course as a site: built once from the stored notebooks, then read as by a visitor who has no network."""

import base64
import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted([*ROOT.glob("lectures/*.ipynb"), *ROOT.glob("labs/*.ipynb")])
VIEWS = ROOT / "site" / "_static" / "views"
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


def build(source: Path, out: Path, *options: str) -> Path:
    """Build the site of `source` as `make site` does, where a warning is an error; returns the folder of its pages."""
    assert find_spec("myst_nb"), "the site needs MyST-NB: pip install -e '.[site]'"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-M",
        "html",
        str(source),
        str(out),
        "-q",
        "-W",
        "--keep-going",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return out / "html"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build(ROOT / "site", tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def pages(site):
    """Every page, read: its path in the site, and what stands on it."""
    from bs4 import BeautifulSoup

    return {
        path.relative_to(site).as_posix(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    }


def page_of(notebook: Path) -> str:
    return notebook.relative_to(ROOT).with_suffix(".html").as_posix()


def stored(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def repository() -> str:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return urls["Repository"].removeprefix("https://github.com/")


def launch_links(page) -> set[str]:
    return {a["href"] for a in page.select(".dropdown-launch-buttons a, .dropdown-download-buttons a")}


def test_every_notebook_has_a_page_that_the_first_page_leads_to(pages):
    led_to = {a["href"] for a in pages["index.html"].select("a[href]")}
    assert {page_of(notebook) for notebook in NOTEBOOKS} <= led_to
    assert {f"views/{path.stem}.html" for path in ROOT.glob("site/views/*.md")} <= led_to


def test_links_lead_somewhere(site, pages):
    places = {(site / name).resolve(): {tag["id"] for tag in page.find_all(id=True)} for name, page in pages.items()}
    broken = set()
    for name, page in pages.items():
        here = (site / name).resolve()
        for address in {tag.get("href") or tag.get("src", "") for tag in page.find_all(["a", *LOADED])}:
            link = urlsplit(address)
            if link.scheme or link.netloc:
                continue
            target = (here.parent / unquote(link.path)).resolve() if link.path else here
            if not target.is_file() or (target in places and unquote(link.fragment) not in {"", *places[target]}):
                broken.add(f"{name}: {address}")
    assert not broken, "\n".join(sorted(broken))


def test_nothing_is_loaded_from_the_web(site, pages):
    for name, page in pages.items():
        for tag, attribute in LOADED.items():
            for found in page.find_all(tag, {attribute: True}):
                assert not re.match(r"(https?:)?//", found[attribute]), f"{name} loads {found[attribute]}"
        for script in page.find_all("script", src=False):
            assert not re.search(r"(import\s|fetch\(|require\()[^;]*https?://", script.text), f"{name} loads by script"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_every_picture_says_in_words_what_is_to_be_seen(pages):
    for name, page in pages.items():
        for image in page.find_all("img"):
            alt = image.get("alt", "")
            assert len(alt) > 3 and not re.search(r"\.(png|svg|jpe?g)$|^[0-9a-f]{16,}|^_", alt), f"{name}: {image}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_figures_have_the_words_of_their_notebook(notebook, pages):
    outputs = [output for cell in stored(notebook) for output in cell.get("outputs", [])]
    expected = [o["metadata"]["image/png"]["alt"] for o in outputs if "image/png" in o.get("data", {})]
    assert expected
    assert [i["alt"] for i in pages[page_of(notebook)].select(".cell_output img")] == expected


def test_formulas_are_drawn_by_the_browser(pages):
    for notebook in NOTEBOOKS:
        texts = ["".join(cell["source"]) for cell in stored(notebook) if cell["cell_type"] == "markdown"]
        blocks = sum(text.count("$$") // 2 for text in texts)
        formulas = pages[page_of(notebook)].find_all("math")
        assert sum(formula.get("display") == "block" for formula in formulas) >= blocks
        assert "$$" not in "".join(text for text in pages[page_of(notebook)].select_one("article").stripped_strings)
        for formula in formulas:
            assert "\\" not in formula.text, f"{notebook.stem}: not understood in full: {formula.text}"
    assert pages["labs/08_mr_to_ct_cyclegan.html"].select("math")


def test_search_knows_the_words(site):
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    lab = index["docnames"].index("labs/02_saliency_and_gradcam")
    for word in ("grad", "cam", "occlus"):  # as Sphinx stores them: split at the hyphen, without endings
        found = [index[kind].get(word, []) for kind in ("terms", "titleterms")]  # one page is a number, several a list
        assert lab in found or any(lab in pages for pages in found if isinstance(pages, list)), word


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_launch_buttons_open_this_notebook(notebook, site, pages):
    path, name = notebook.relative_to(ROOT).as_posix(), page_of(notebook)
    links = launch_links(pages[name])
    assert f"https://colab.research.google.com/github/{repository()}/blob/main/{path}" in links
    assert f"https://mybinder.org/v2/gh/{repository()}/main?urlpath=lab/tree/{path}" in links
    (download,) = (link for link in links if link.endswith(".ipynb") and "://" not in link)
    assert ((site / name).parent / download).read_bytes() == notebook.read_bytes()


def test_launch_buttons_follow_the_fork(tmp_path):
    from bs4 import BeautifulSoup

    lab = "02_saliency_and_gradcam"
    shutil.copytree(
        ROOT / "site", tmp_path / "site", ignore=shutil.ignore_patterns("lectures", "labs", "index.md", "lecturer.md")
    )
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    (tmp_path / "site" / "labs").mkdir()
    for needed in ("02_saliency_and_gradcam", "03_mnist_gans", "08_mr_to_ct_cyclegan"):  # the views speak of them
        shutil.copy(ROOT / "labs" / f"{needed}.ipynb", tmp_path / "site" / "labs")
    (tmp_path / "site" / "lectures").mkdir()
    shutil.copy(ROOT / "lectures" / "05_gan_theory.ipynb", tmp_path / "site" / "lectures")
    (tmp_path / "site" / "index.md").write_text("# Fork\n\n```{toctree}\n:glob:\nlabs/*\nlectures/*\nviews/*\n```\n")
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(text.replace(f"github.com/{repository()}", "github.com/some/fork"))
    page = build(tmp_path / "site", tmp_path / "out") / "labs" / f"{lab}.html"
    links = launch_links(BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser"))
    assert f"https://colab.research.google.com/github/some/fork/blob/main/labs/{lab}.ipynb" in links
    assert not any(repository() in link for link in links)


def views() -> dict[str, dict]:
    text = (VIEWS / "data.js").read_text(encoding="utf-8")
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def test_views_have_labelled_sliders_and_say_how_they_were_made(pages):
    seen = {}
    for page in (page for name, page in pages.items() if name.startswith("views/") and page.select(".view")):
        (view,) = page.select(".view")
        seen[view["data-view"]] = " ".join(page.select_one("article").text.split()).replace("’", "'")
        sliders = view.select("input[type=range]")
        assert sliders and view.select_one("canvas")["aria-label"]
        for slider in sliders:
            assert view.select_one(f"label[for={slider['id']}]").text
        assert {script["src"] for script in page.select("script[src*='views']")} == {
            "../_static/views/data.js",
            "../_static/views.js",
        }
    seen["door"] = " ".join(pages["index.html"].text.split())
    assert seen.keys() == views().keys() == {"window", "latent", "cyclegan", "gradcam", "door"}
    for name, view in views().items():
        assert view["made"] in seen[name] and "seed" in view["made"]


def test_the_first_page_has_a_card_for_every_notebook(pages):
    found = {card.select_one("a")["href"]: card for card in pages["index.html"].select(".card-of-notebook")}
    assert found.keys() == {page_of(notebook) for notebook in NOTEBOOKS}
    for notebook in NOTEBOOKS:
        card = found[page_of(notebook)]
        assert stored(notebook)[0]["source"][0].removeprefix("# ").strip() == card.select_one("strong").text
        assert "minute" in card.text and "Assumed" in card.text and len(card.select_one("img")["alt"]) > 20
        assert {a.text for a in card.select("a")} >= {"Colab", "Binder"}


def test_a_notebook_leads_to_the_views_that_speak_of_it(pages):
    for view in ROOT.glob("site/views/*.md"):
        for notebook in re.findall(r"</((?:labs|lectures)/\w+)>", view.read_text(encoding="utf-8")):
            assert pages[f"{notebook}.html"].select(f'article a[href="../views/{view.stem}.html"]'), (
                view.stem,
                notebook,
            )


def test_the_page_for_lecturers_has_every_question_and_its_answer(pages):
    from mrctlib.course.exercises.core import Question, load_all, registry

    load_all()
    text = " ".join(pages["lecturer.html"].select_one("article").text.split())
    in_notebooks = "".join(notebook.read_text(encoding="utf-8") for notebook in NOTEBOOKS)
    asked = [
        entry
        for name, entry in registry.items()
        if isinstance(entry, Question) and f'question(\\"{name}' in in_notebooks
    ]
    assert len(asked) > 60
    plain = re.sub(r"[^a-z]", "", text.lower())
    for question in asked:
        assert re.sub(r"[^a-z]", "", re.sub(r"[$`*_].*", "", question.text).lower())[:40] in plain, question.name
    assert text.count("Learning outcomes") == len(NOTEBOOKS)


def test_the_live_view_is_small(site):
    live = [site / "_static" / name for name in ("networks.js", "network.js", "live.js")]
    assert sum(path.stat().st_size for path in [*live, site / "views" / "5_mr_to_ct_live.html"]) < 6_000_000


def test_views_are_whole_and_small():
    shown = views()
    hu = base64.b64decode(shown["window"]["hu"])
    assert len(hu) == 2 * shown["window"]["width"] * shown["window"]["height"]
    for name in shown.keys() - {"window", "door"}:
        words = shown[name]["words"]
        with Image.open(VIEWS / f"{name}.png") as frames:
            assert frames.size == (shown[name]["width"] * len(words[0]), shown[name]["height"] * len(words))
        assert {len(row) for row in words} == {len(words[0])} and all(line for row in words for line in row)
    sizes = [path.stat().st_size for path in VIEWS.iterdir()]
    assert max(sizes) < 150_000 and sum(sizes) < 500_000
