"""Dice of a U-Net and of a sliding-window network after the same seconds of training, over several seeds.

    python benchmarks/segmentation.py [--seconds 6] [--seeds 3] [--patients 24]

Each seed has its own training patients (phantom), half as many to test on, weights and batches. How many steps fit
into the seconds is measured on a copy that is thrown away.
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib import setup
from mrctlib.course.brains import Brains, draw_brains
from mrctlib.course.networks.segmentation import UNet, dice_per_label, soft_dice_loss
from mrctlib.phantom.tissues import BRAIN
from mrctlib.runtime import seed_everything
from mrctlib.training.supervised import fit, predict

WINDOW = 21
MARGIN = WINDOW // 2
CLASSES = len(BRAIN) + 1


def with_margin(images: Tensor) -> Tensor:
    return F.pad(images, (MARGIN,) * 4, value=float(images.min()))


def random_patches(brains: Brains, count: int) -> tuple[Tensor, Tensor]:
    """Windows about random pixels of the brain and up to two pixels around it, and the label of each one's middle."""
    images, labels = brains.slices()
    wide, window = with_margin(images), WINDOW
    near = F.max_pool2d((labels > 0).float()[:, None], 5, stride=1, padding=2)[:, 0] > 0
    places = torch.nonzero(near)
    chosen = places[torch.randint(len(places), (count,))]
    patches = [wide[n, :, r : r + window, a : a + window] for n, r, a in chosen.tolist()]
    return torch.stack(patches), labels[tuple(chosen.T)]


def fit_for(seconds: float, network: nn.Module, *data: Tensor, **options: object) -> int:
    """Train for about so many seconds; returns the steps taken."""
    trial = fit(copy.deepcopy(network), *data, steps=10, **options)
    steps = max(1, round(10 * seconds / trial[-1]["seconds"]))
    fit(network, *data, steps=steps, **options)
    return steps


def both_losses(scores: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(scores, labels) + soft_dice_loss(scores, labels)


def u_net(train: Brains, seconds: float) -> tuple[nn.Module, int]:
    network = UNet(CLASSES, base=8, depth=2)
    return network, fit_for(seconds, network, *train.slices(), loss=both_losses, batch=2, rate=8e-3)


def window(train: Brains, seconds: float) -> tuple[nn.Module, int]:
    """Trained on windows: what lies in the middle? Without padding or dense layers, so that it slides by itself."""
    network = nn.Sequential(
        nn.Conv2d(1, 16, 5), nn.ReLU(), nn.Conv2d(16, 16, 5), nn.ReLU(), nn.Conv2d(16, 16, 5), nn.ReLU(),
        nn.Conv2d(16, 16, 9), nn.ReLU(), nn.Conv2d(16, CLASSES, 1),
    )  # fmt: skip
    patches, names = random_patches(train, 12_000)
    return network, fit_for(seconds, network, patches, names[:, None, None], batch=128, rate=3e-3)


def main() -> None:
    setup()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--patients", type=int, default=24)
    options = parser.parse_args()
    means: dict[str, list[float]] = {"U-Net": [], "sliding window": []}
    for seed in range(options.seeds):
        train, test = (
            draw_brains(seed, range(n, n + k)) for n, k in ((0, options.patients), (100, options.patients // 2))
        )
        images, labels = test.slices()
        for name, build in (("U-Net", u_net), ("sliding window", window)):
            seed_everything(seed, name)
            network, steps = build(train, options.seconds)
            inputs = images if name == "U-Net" else with_margin(images)
            dices = dice_per_label(labels, predict(network, inputs, 32).argmax(1), BRAIN)
            means[name].append(float(np.mean(list(dices.values()))))
            print(seed, f"{name:15s}", f"{steps:5d} steps", {k: round(v, 3) for k, v in dices.items()}, flush=True)
    for name, values in means.items():
        print(f"{name}: mean Dice {np.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]")


if __name__ == "__main__":
    main()
