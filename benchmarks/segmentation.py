"""Dice of a U-Net and of a sliding-window network after the same seconds of training, over three seeds.

    python benchmarks/segmentation.py [seconds]

Each seed has its own 24 training and 12 test patients (phantom), weights and batches.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.data.brains import Brains, draw_brains
from mrctlib.data.phantom import BRAIN
from mrctlib.losses import soft_dice_loss
from mrctlib.metrics import dice_per_label
from mrctlib.models.segmentation import PatchClassifier, UNet, all_convolutional
from mrctlib.runtime import seed_everything
from mrctlib.training.supervised import fit, predict

MARGIN = PatchClassifier.window // 2
CLASSES = len(BRAIN) + 1


def with_margin(images: Tensor) -> Tensor:
    return F.pad(images, (MARGIN,) * 4, value=float(images.min()))


def random_patches(brains: Brains, count: int) -> tuple[Tensor, Tensor]:
    """Windows about random pixels of the brain and up to two pixels around it, and the label of each one's middle."""
    images, labels = brains.slices()
    wide, window = with_margin(images), PatchClassifier.window
    near = F.max_pool2d((labels > 0).float()[:, None], 5, stride=1, padding=2)[:, 0] > 0
    places = torch.nonzero(near)
    chosen = places[torch.randint(len(places), (count,))]
    patches = [wide[n, :, r : r + window, a : a + window] for n, r, a in chosen.tolist()]
    return torch.stack(patches), labels[tuple(chosen.T)]


def u_net(train: Brains, seconds: float) -> tuple[nn.Module, int]:
    network = UNet(CLASSES, base=8, depth=2)
    loss = lambda scores, labels: F.cross_entropy(scores, labels) + soft_dice_loss(scores, labels)  # noqa: E731
    return network, fit(network, *train.slices(), loss, seconds=seconds, batch=2, rate=8e-3)[-1]["step"]


def window(train: Brains, seconds: float) -> tuple[nn.Module, int]:
    network = PatchClassifier(CLASSES)
    steps = fit(network, *random_patches(train, 12_000), seconds=seconds, batch=128, rate=3e-3)[-1]["step"]
    return all_convolutional(network, 9), steps


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 6.0
    means: dict[str, list[float]] = {"U-Net": [], "sliding window": []}
    for seed in range(3):
        train, test = draw_brains(seed, range(24)), draw_brains(seed, range(100, 112))
        images, labels = test.slices()
        for name, build in (("U-Net", u_net), ("sliding window", window)):
            seed_everything(seed, name)
            network, steps = build(train, seconds)
            inputs = images if name == "U-Net" else with_margin(images)
            dices = dice_per_label(labels, predict(network, inputs, 32).argmax(1), BRAIN)
            means[name].append(float(np.mean(list(dices.values()))))
            print(seed, f"{name:15s}", f"{steps:5d} steps", {k: round(v, 3) for k, v in dices.items()}, flush=True)
    for name, values in means.items():
        print(f"{name}: mean Dice {np.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]")
