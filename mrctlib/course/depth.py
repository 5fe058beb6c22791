"""Does deeper train worse? Towers of many layers on small digits, and what was stored of training them all.

python -m mrctlib.course.depth     trains them again, some twenty minutes; goes on where it stopped
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from mrctlib.course.models import THREE, commit
from mrctlib.runtime import seed_everything, settle_torch, whole_file
from mrctlib.training.supervised import accuracy, fit

RESULTS, KEPT = Path(__file__).with_name("results") / "depth.json", Path("out/depth")
DEPTHS, STEPS, TRAINED_ON = (8, 20, 32), 400, 1200
STARTS = ("torch", "He")


class Block(nn.Module):
    """(N, width, H, W) to the same: two convolutions, with or without a shortcut, with or without batch norm."""

    def __init__(self, width: int, shortcut: bool, norm: bool) -> None:
        super().__init__()
        normalise = nn.BatchNorm2d if norm else nn.Identity
        self.f = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), normalise(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), normalise(width),
        )  # fmt: skip
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.f(x) if self.shortcut else self.f(x))


def tower(depth: int, shortcut: bool, norm: bool, start: str = "torch", width: int = 16) -> nn.Sequential:
    """A classifier of digits with `depth` layers that have weights; start: how the convolutions begin.

    torch: with a variance of 1 / (3 inputs of a sum); He: of 2 / inputs, so that behind a ReLU the signal keeps its
    size (He et al. 2015).
    """
    blocks = [Block(width, shortcut, norm) for _ in range((depth - 2) // 2)]
    first, last = nn.Conv2d(1, width, 3, padding=1), nn.Linear(width, 10)
    network = nn.Sequential(first, nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)
    for layer in network.modules():
        if start == "He" and isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


def small_digits() -> tuple[Tensor, Tensor]:
    """1797 digits of 8 x 8 pixels that come with scikit-learn: (images (N, 1, 8, 8) from -1 to 1, classes)."""
    drawn = load_digits()
    return torch.tensor(drawn.images, dtype=torch.float32)[:, None] / 8 - 1, torch.tensor(drawn.target)


def train(depth: int, shortcut: bool, norm: bool, start: str, seed: int) -> dict[str, Any]:
    """How far one tower gets: accuracy on what it learned from and on the rest."""
    images, classes = small_digits()
    run = {"depth": depth, "shortcut": shortcut, "norm": norm, "start": start, "seed": seed}
    seed_everything(seed)
    network, folder = tower(depth, shortcut, norm, start), KEPT / "-".join(map(str, run.values()))
    learned, others = slice(TRAINED_ON), slice(TRAINED_ON, None)
    fit(network, images[learned], classes[learned], steps=STEPS, seed=seed, name="tower", folder=folder)
    parts = {"trained": learned, "test": others}
    return run | {name: accuracy(network, images[part], classes[part]) for name, part in parts.items()}


def stored() -> list[dict[str, Any]]:
    """All trainings, one row each: see `train`."""
    return json.loads(RESULTS.read_text(encoding="utf-8"))["runs"]


def main() -> None:
    settle_torch()
    runs = [train(*chosen) for chosen in product(DEPTHS, (False, True), (False, True), STARTS, THREE)]
    with whole_file(RESULTS, force=True) as part:
        part.write_text(json.dumps({"commit": commit(), "steps": STEPS, "runs": runs}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
