"""Make every badge and link of the course point at a repository: python tools/badges.py owner/name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
STAMPED = ["pyproject.toml", "README.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("l*/*.ipynb"))]


def current() -> str:
    """owner/name as pyproject.toml has it, the one place that decides."""
    return re.search(r'Repository = "https://github.com/([^"]+)"', (ROOT / "pyproject.toml").read_text()).group(1)


def stamp(repository: str) -> None:
    old = current()
    for name in STAMPED:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        # Always behind a host's path, so that the words of a text are never touched.
        new = re.sub(rf"(github\.com/|github/|/gh/){re.escape(old)}\b", rf"\g<1>{repository}", text)
        if new != text:
            path.write_text(new, encoding="utf-8")
            print(f"{name}: {old} -> {repository}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"[\w.-]+/[\w.-]+", sys.argv[1]):
        print("badges: say which repository: make badges REPO=owner/name", file=sys.stderr)
        sys.exit(2)
    stamp(sys.argv[1])
