"""The decks in a real Chromium, from the file system and without a network: they move and can be read."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("sphinx_revealjs", reason="no reveal.js here: pip install -e '.[slides]'")

ROOT = Path(__file__).parents[2]
LECTURES = sorted((ROOT / "lectures").glob("*.ipynb"))
SMALLEST = 16  # pixels of 720: what a slide that is too full may shrink to
HIGH, ROWS = 560, 12  # code (pixels) and tables (rows) beyond these may have to be scrolled
LOOK = """() => {
  const slide = Reveal.getCurrentSlide();
  const visible = [...slide.querySelectorAll('*')].filter((e) => !e.closest('aside, math') && e.offsetParent);
  const text = visible.filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  return {
    type: Math.min(99, ...text.map((e) => parseFloat(getComputedStyle(e).fontSize))),
    below: slide.scrollHeight - slide.clientHeight,
    beside: slide.scrollWidth - slide.clientWidth,
    code: Math.max(0, ...[...slide.querySelectorAll('pre')].map((e) => e.clientHeight)),
    rows: slide.querySelectorAll('tr').length,
    figures: [...slide.querySelectorAll('img')].map((e) => Math.min(e.clientWidth, e.clientHeight)),
    formulas: [...slide.querySelectorAll('math:not(aside math)')].map((e) => e.getBoundingClientRect().width),
    title: slide.innerText.trim().slice(0, 60),
  };
}"""


def build(path: Path, folder: Path) -> Path:
    spec = importlib.util.spec_from_file_location("slides", ROOT / "tools" / "slides.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(path, folder)


@pytest.fixture
def projector(browser):
    """A window of 1280 x 720 that has no network; `faults` holds what went wrong in it."""
    with browser.new_context(viewport={"width": 1280, "height": 720}) as context:
        context.set_offline(True)
        page = context.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
        page.on("requestfailed", lambda request: page.faults.append(request.url[:80]))
        yield page


@pytest.mark.parametrize("path", LECTURES, ids=lambda p: p.stem)
def test_every_slide_can_be_read(path, projector, tmp_path):
    projector.goto(build(path, tmp_path).as_uri())
    projector.wait_for_function("window.Reveal && Reveal.isReady()")
    places = projector.evaluate("Reveal.getSlides().map((slide) => Reveal.getIndices(slide))")
    looks = []
    for place in places:
        projector.evaluate("([h, v]) => Reveal.slide(h, v, 99)", [place["h"], place["v"]])
        looks.append(projector.evaluate(LOOK))
    assert projector.faults == []
    assert [look for look in looks if look["type"] < SMALLEST] == []
    assert [look for look in looks if look["beside"] > 0] == []
    # Long code and long tables are scrolled; whatever else is too full should be two slides.
    scrolled = [look for look in looks if look["below"] > 24]
    print(f"\n{path.stem}: {len(looks)} slides; to be scrolled: {[look['title'] for look in scrolled]}")
    assert [look["title"] for look in scrolled if look["code"] < HIGH and look["rows"] < ROWS] == []
    assert all(size > 60 for look in looks for size in look["figures"])
    assert all(width > 3 for look in looks for width in look["formulas"])


def test_keys_move_and_notes_open(projector, tmp_path):
    (path,) = (path for path in LECTURES if path.stem == "02_sequences")
    projector.goto(build(path, tmp_path).as_uri())
    projector.wait_for_function("window.Reveal && Reveal.isReady()")
    assert "what a network remembers" in projector.inner_text("section.present section.present h1")
    with projector.context.expect_page() as opened:
        projector.keyboard.press("s")
    speaker = opened.value
    speaker.get_by_text("3 min.").wait_for()
    projector.keyboard.press("ArrowRight")
    assert "Medicine" in projector.inner_text("section.present section.present h2")
    speaker.get_by_text("9 min.").wait_for()
    assert speaker.locator(".pacing").first.is_visible()
    projector.keyboard.press("ArrowDown")
    assert projector.locator("section.present section.present img").first.is_visible()
    assert projector.faults == []
