"""The site in a real Chromium, opened from its folder: search, and every view moves when its controls do.

Those that compute in the page have tests of their own: test_computing_views.py.
"""

import pytest
from test_site import ROOT, build

VIEWS = sorted(set((ROOT / "site" / "views").glob("*.md")) - set((ROOT / "site" / "views").glob("[56]_*.md")))
# The views, and the notebooks that they speak of: the whole site is for tests/test_site.py.
NOTEBOOKS = "labs/02_*", "labs/03_*", "labs/08_*", "lectures/04_*", "lectures/05_*"


@pytest.fixture(scope="module")
def site(browser, tmp_path_factory):
    wanted = ",".join(["index.md", "lecturer.md", "views/*", *NOTEBOOKS])
    return build(ROOT / "site", tmp_path_factory.mktemp("site"), "-D", f"include_patterns={wanted}")


def state(page) -> tuple[bytes, str]:
    """What is to be seen on the canvas, and the words for it."""
    canvas = page.locator(".view canvas")
    return canvas.screenshot(), canvas.get_attribute("aria-label")


@pytest.mark.parametrize("source", VIEWS, ids=lambda path: path.stem)
def test_a_view_moves_with_its_sliders(source, site, page, faults, shot):
    page.goto((site / "views" / f"{source.stem}.html").as_uri())
    page.wait_for_function("document.querySelector('.view .words').textContent")
    sliders = page.locator(".view input[type=range]")
    assert sliders.count()
    for slider in sliders.all():
        before = state(page)
        slider.focus()
        middle = slider.evaluate("slider => (Number(slider.min) + Number(slider.max)) / 2 < Number(slider.value)")
        for _ in range(4):  # by keyboard, for those who use no mouse
            page.keyboard.press("ArrowLeft" if middle else "ArrowRight")
        after = state(page)
        assert before[0] != after[0] and before[1] != after[1]
        assert page.locator(".view .words").text_content() == after[1]
        assert slider.get_attribute("aria-valuetext")
    shot(f"site_{source.stem}")
    assert not faults


def test_known_windows_are_one_press_away(site, page, faults):
    page.goto((site / "views" / "1_window_and_level.html").as_uri())
    seen = {}
    for button in page.locator(".view button").all():
        button.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
        picture, words = state(page)
        assert button.text_content() in words
        seen[picture] = words
    assert len(seen) == page.locator(".view button").count()
    # Brain: level 40, width 80. Air is black, bone is white.
    page.get_by_role("button", name="brain").click()
    assert "Black below 0 HU, white above 80 HU" in state(page)[1]
    assert page.evaluate(
        "() => { const c = document.querySelector('.view canvas'), p = c.getContext('2d').getImageData(0, 0, c.width, "
        "c.height).data; return [p[0], Math.max(...p.filter((_, i) => i % 4 == 0))]; }"
    ) == [0, 255]


def test_search_works_from_a_folder(site, page, faults, shot):
    page.goto(f"{(site / 'search.html').as_uri()}?q=Grad-CAM")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("document.querySelectorAll('#search-results li a').length > 1")
    found = page.locator("#search-results li a").evaluate_all("links => links.map((link) => link.href)")
    assert any("labs/02_saliency_and_gradcam.html" in link for link in found)
    shot("site_search")
    page.locator("#search-results li a").first.click()
    page.wait_for_selector("article h1")
    assert not faults
