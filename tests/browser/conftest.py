"""A real Chromium for the tests of this folder. Where it or playwright is missing they are skipped, and say why.

`browser` is one per file, since Playwright keeps an event loop running that other tests would trip over; `page` is a
new window with nothing remembered; `shot` keeps a picture of it in out/browser for people to look at.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # the tests that need playwright are skipped without it, the others are not
    from playwright.sync_api import Locator

SHOTS = Path(__file__).parents[2] / "out" / "browser"
NAMES = ("chromium", "chromium-browser", "google-chrome")  # what Debian, Ubuntu and GitHub's machines call it


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="no playwright here: make test-browser installs it")
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        pytest.skip(f"no Chromium here: none of {', '.join(NAMES)} is on the PATH")
    # A container has no sandbox. Without a graphics card, a page that thinks it has one is several times as slow.
    options = {"executable_path": chromium, "args": ["--no-sandbox", "--disable-gpu"]}
    with api.sync_playwright() as playwright, playwright.chromium.launch(**options) as launched:
        yield launched


@pytest.fixture
def page(browser):
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        yield context.new_page()


@pytest.fixture
def faults(page):
    """What went wrong on the page, or was asked of the web."""
    seen = []
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("console", lambda message: seen.append(message.text) if message.type == "error" else None)
    page.on("requestfailed", lambda request: seen.append(f"not there: {request.url}"))
    page.on("request", lambda request: request.url.startswith("http") and seen.append(f"asked for {request.url}"))
    return seen


@pytest.fixture
def shot(page) -> Callable[..., None]:
    """Call it with a name, and with what should stand in the middle: a PNG of the window as it is now."""

    def take(name: str, middle: Locator | None = None) -> None:
        if middle:
            middle.evaluate("(element) => element.scrollIntoView({block: 'center'})")
        page.screenshot(path=SHOTS / f"{name}.png")

    return take


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """A JupyterLab on an empty folder. (`browser` first, so that nothing is started for tests that are skipped.)"""
    from student import jupyterlab  # needs playwright, which `browser` has found

    with jupyterlab(tmp_path_factory.mktemp("lab")) as running:
        yield running
