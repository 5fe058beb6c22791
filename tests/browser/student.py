"""A student at JupyterLab: what hands do there and what eyes see, on one notebook in one window."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page, expect

TOKEN = "student"
PATIENCE = 120_000  # ms: machines are noisy; nothing here waits longer than it must
expect.set_options(timeout=PATIENCE)
SETTINGS = {
    # All cells stay on the page, so that a test can look at any of them without scrolling.
    "notebook-extension/tracker": '{"windowingMode": "none"}',
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
}
PROMPT = ".jp-InputArea-prompt"
NUMBERED = re.compile(r"\[\d+\]")
CELLS = ".jp-Notebook .jp-Cell"
VIEWS = ".jp-OutputArea-output .widget-vbox:has(> img)"
LAST = "pass  # the last cell, in which nothing happens"

RAN = """() => {
  const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map((p) => p.textContent);
  return prompts.some((text) => /\\d/.test(text)) && !prompts.some((text) => text.includes('*'));
}"""
# What no student should see; each line is one fault in words.
FAULTS = """() => {
  const faults = [], all = (selector) => [...document.querySelectorAll(`.jp-Notebook ${selector}`)];
  for (const output of all('.jp-OutputArea-output')) {
    const text = output.textContent;
    if (text.includes('Traceback (most recent call last)')) faults.push(text.trim().slice(-400));
    if (/(displaying|creating|rendering) widget|Loading widget|Javascript Error/.test(text)) faults.push(text.trim());
  }
  for (const image of all('img')) {
    if (image.complete && !image.naturalWidth) faults.push(`a broken picture: ${image.alt || image.src.slice(0, 80)}`);
  }
  for (const math of all('mjx-merror')) faults.push(`mathematics that is not set: ${math.textContent}`);
  for (const cell of all('.jp-CodeCell')) {
    const prompt = cell.querySelector('.jp-InputArea-prompt').textContent;
    const source = cell.querySelector('.cm-content').textContent.trim();
    if (source && !/\\d/.test(prompt)) faults.push(`never run: ${source.slice(0, 80)}`);
  }
  return faults;
}"""
PICTURE = """async (image) => {
  const bytes = await (await fetch(image.src)).arrayBuffer();
  return [...new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))].join(' ');
}"""


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that runs, and the folder that it shows."""

    url: str
    folder: Path


@contextmanager
def jupyterlab(folder: Path) -> Iterator[Lab]:
    """JupyterLab on `folder/work`, on the cpu tier and the built-in data, with nobody's own settings.

    Raises:
        RuntimeError: it does not answer in time; the message ends with its log.
    """
    for name, text in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "work").mkdir()
    own = {f"JUPYTER{name}_DIR": str(folder / name.lower()) for name in ("_CONFIG", "_RUNTIME", "LAB_WORKSPACES")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "MRCT_TIER": "cpu", "MRCT_DATA": "embedded"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", "--allow-root"]
    options += ["--no-browser", f"--ServerApp.root_dir={folder / 'work'}"]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], env=os.environ | own, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(PATIENCE // 500):
            try:
                urllib.request.urlopen(f"{url}/api?token={TOKEN}").close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            raise RuntimeError(f"JupyterLab did not start:\n{(folder / 'log').read_text()[-2000:]}")
        yield Lab(url, folder / "work")
    finally:
        server.terminate()  # its kernels go with it
        server.wait()


class Student:
    """Opens one notebook and works in it. A cell is named by a piece of its source."""

    def __init__(self, page: Page, lab: Lab, name: str, notebook: nbformat.NotebookNode) -> None:
        """The notebook goes into the lab's folder without its outputs, so that whatever is seen was made here."""
        self.page = page
        page.set_default_timeout(PATIENCE)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        notebook.cells.append(nbformat.v4.new_code_cell(LAST))
        self.sources = [cell.source for cell in notebook.cells]
        nbformat.write(notebook, lab.folder / name)
        page.goto(f"{lab.url}/lab/tree/{name}?reset&token={TOKEN}")
        page.locator(CELLS).nth(len(self.sources) - 1).wait_for()
        self.expect_kernel()

    def expect_kernel(self) -> None:
        """Wait until the kernel listens, as the foot of the window says; a hand that is faster is ignored."""
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("| Idle")

    def menu(self, *names: str) -> None:
        for name in names:
            self.page.get_by_role("menuitem", name=name, exact=True).click()

    def run_all(self, seconds: float) -> float:
        """Run > Run All Cells, and wait for the end; returns the seconds it took."""
        started = time.monotonic()
        self.menu("Run", "Run All Cells")
        self.page.wait_for_function(RAN, timeout=1000 * seconds, polling=200)
        return time.monotonic() - started

    def cell(self, words: str) -> Locator:
        """The only cell with these words in its source."""
        (number,) = (number for number, source in enumerate(self.sources) if words in source)
        return self.page.locator(CELLS).nth(number)

    def start(self, words: str) -> None:
        """Click into a cell and press Control+Enter; it is running or waiting afterwards, or done."""
        prompt = self.cell(words).locator(PROMPT)
        before = prompt.inner_text()
        self.cell(words).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        expect(prompt).not_to_have_text(before)

    def run(self, words: str, seconds: float = 600) -> Locator:
        """Run one cell to its end; returns what stands below it."""
        self.start(words)
        self.finish(words, seconds)
        return self.cell(words).locator(".jp-Cell-outputWrapper")

    def finish(self, words: str, seconds: float = 600) -> None:
        """Wait until a cell that was started is done."""
        expect(self.cell(words).locator(PROMPT)).to_have_text(NUMBERED, timeout=1000 * seconds)

    def write(self, words: str, line: str) -> None:
        """Put `line` in place of the last line of a cell, as fingers do."""
        self.cell(words).locator(".cm-content").click()
        for key in ("Control+End", "Shift+Home"):
            self.page.keyboard.press(key)
        self.page.keyboard.type(line)

    def restart(self) -> None:
        """Kernel > Restart Kernel and Clear Outputs of All Cells, and yes."""
        self.menu("Kernel", "Restart Kernel and Clear Outputs of All Cells…")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.locator(".jp-Dialog").wait_for(state="detached")
        self.expect_kernel()

    def faults(self) -> list[str]:
        """What no student should see on a notebook that has been run."""
        return self.page.evaluate(FAULTS)

    def view(self, words: str) -> View:
        """The view (controls and their picture) below a cell."""
        return View(self, self.cell(words).locator(VIEWS))

    def views(self) -> list[View]:
        """Every view of the notebook."""
        return [View(self, box) for box in self.page.locator(VIEWS).all()]


class View:
    """Controls and the picture that they draw, as they stand on the page."""

    def __init__(self, student: Student, box: Locator) -> None:
        self.student, self.image = student, box.locator("> img")
        # A list with one entry leaves no choice.
        self.controls = box.locator("> :not(img):not(:has(option:only-child))").all()

    def picture(self) -> str:
        """A digest of the picture's bytes."""
        return self.image.evaluate(PICTURE)

    def changes_with(self, action: Callable[..., None], *arguments: object) -> bool:
        """Whether what a hand does changes the picture.

        The kernel takes messages in order: once a cell that is started afterwards is done, the action has had its say.
        """
        before = self.picture()
        action(*arguments)
        self.student.run(LAST)
        self.student.page.wait_for_timeout(300)  # the page needs a moment to take in a picture that has arrived
        return self.picture() != before


def move(control: Locator) -> None:
    """Give a control another value by hand, whatever kind it is.

    Raises:
        LookupError: no hand knows how to hold it.
    """
    for selector, hand in HANDS.items():
        if (part := control.locator(selector)).count():
            hand(part.first)
            return
    raise LookupError(f"no hand for {control.evaluate('(element) => element.outerHTML')[:300]}")


# How far from its end a slider is taken: not all alike, or "from" and "to" would come to stand at the same place.
SHARES = itertools.cycle((0.1, 0.15, 0.2))


def slide(track: Locator) -> None:
    """Click on the far side of a slider's track."""
    share = next(SHARES)
    low, now, high = (
        float(track.locator(".noUi-handle").get_attribute(f"aria-value{name}")) for name in ("min", "now", "max")
    )
    size = track.bounding_box()
    track.click(
        position={"x": size["width"] * (1 - share if now < (low + high) / 2 else share), "y": size["height"] / 2}
    )


def choose(menu: Locator) -> None:
    """Take the last entry of a drop-down list, or the first if that is chosen."""
    last = menu.locator("option").count() - 1
    menu.select_option(index=0 if menu.evaluate("(select) => select.selectedIndex") == last else last)


def play(button: Locator) -> None:
    """Let an animation run for a second."""
    button.click()
    button.page.wait_for_timeout(1000)
    button.page.locator("button:has(.fa-pause)").click()


HANDS: dict[str, Callable[[Locator], None]] = {
    ".noUi-target": slide,
    "select": choose,
    "button:has(.fa-play)": play,
    "input[type=checkbox]": lambda box: box.click(),
    ".widget-toggle-button:not(.mod-active)": lambda button: button.click(),
    ".widget-button:not([disabled])": lambda button: button.click(),
}
