"""Few labels: three networks that find lesions, from scratch or after another training that was free of labels' cost.

The hospital has scanner b, and labels of some patients. Free are phantoms of scanner a, labels included, and slices of
scanner b without any.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.course.lesions import FINDINGS, LesionSlices, draw_lesion_slices
from mrctlib.course.models import Model, Networks
from mrctlib.course.networks.classifiers import average_and_classify
from mrctlib.course.networks.patches import VisionTransformer, convnext, resnet
from mrctlib.runtime import digest
from mrctlib.training.supervised import accuracy, fit

SIZE, PATCH = (40, 32), 4  # pixels of 5.4 mm; width of the patches, and of what is hidden
FEATURES: dict[str, Callable[[], nn.Module]] = {
    "ResNet": lambda: resnet(PATCH, 32, 3),
    "ConvNeXt": lambda: convnext(PATCH, 40, 4),
    "ViT": lambda: VisionTransformer(SIZE, PATCH, 40, 3),
}
STARTS = ("scratch", "labelled phantoms", "hidden squares")
PATIENTS, LABELLED = 300, (10, 50, 250)  # for a pretraining; with labels
BEFORE = {"steps": 800, "batch": 64, "rate": 2e-3, "weight_decay": 0.05}
AFTER = {"steps": 800, "batch": 32, "rate": 2e-3, "weight_decay": 0.05}


def classifier(name: str) -> nn.Sequential:
    """Slices (N, 1, 40, 32) to scores of `FINDINGS`: features, and their mean over the image."""
    features = FEATURES[name]()
    return nn.Sequential(features, average_and_classify(channels(features), len(FINDINGS)))


def channels(features: nn.Module) -> int:
    """How many maps a network hands on."""
    return features(torch.zeros(1, 1, *SIZE)).shape[1]


@cache
def slices_of(scanner: str, seed: int, count: int) -> LesionSlices:
    """Slices of `count` patients."""
    return draw_lesion_slices(seed, range(count), coarser=2, scanner=scanner)


def hide(images: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    """Images with six squares in ten made black; and what was there, with where it was hidden, (N, 2, H, W)."""
    rows, columns = (side // PATCH for side in images.shape[2:])
    hidden = (torch.rand(len(images), 1, rows, columns, device=images.device) < 0.6).float()
    hidden = F.interpolate(hidden, scale_factor=PATCH)
    return images * (1 - hidden), torch.cat([images, hidden], 1)


def hidden_error(painted: Tensor, asked: Tensor) -> Tensor:
    """Mean absolute error of what was painted (N, 1, H, W), where it was hidden."""
    image, hidden = asked.split(1, 1)
    return ((painted - image).abs() * hidden).sum() / hidden.sum()


def painter(features: nn.Module) -> nn.Sequential:
    """Features with one layer that paints the pixels of each patch: SimMIM (Xie et al. 2022)."""
    return nn.Sequential(features, nn.Conv2d(channels(features), PATCH**2, 1), nn.PixelShuffle(PATCH))


def learn_before(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """Each network but those from scratch learns something that needs no labels of the hospital."""
    phantoms, archive, seconds = slices_of("a", 1, PATIENTS), slices_of("b", 2, PATIENTS), 0.0
    for name, start in product(FEATURES, STARTS[1:]):
        network = networks[key := f"{name}, {start}"]
        asked = BEFORE | {"seed": seed, "name": key, "folder": folder / key}
        if start == "hidden squares":
            history = fit(painter(network[0]), archive.images, archive.images, hidden_error, augment=hide, **asked)
        else:
            history = fit(network, phantoms.images, phantoms.classes, **asked)
        seconds += history[-1]["seconds"]
    data = {"name": f"slices of {PATIENTS} phantom patients on each of two scanners"}
    return {"recipe": BEFORE, "data": data | {"digest": digest(phantoms.images, archive.images)}, "seconds": seconds}


def learn_after(network: nn.Module, count: int, seed: int) -> float:
    """Train a copy of a network on `count` labelled patients of scanner b: its accuracy in 100 others."""
    labelled, others, tuned = slices_of("b", 10, count), slices_of("b", 4, 100), deepcopy(network)
    fit(tuned, labelled.images, labelled.classes, **AFTER, seed=seed, name="few labels")
    return accuracy(tuned, others.images, others.classes)


def with_few_labels(networks: Networks, seed: int) -> dict[str, float]:
    """Accuracy in 100 other patients of scanner b: by network, start and number of labelled patients. `0`: as it came
    from the phantoms, without any label of scanner b."""
    found, others = {}, slices_of("b", 4, 100)
    for name, network in networks.items():
        if name.endswith(STARTS[1]):
            found[f"{name}, 0"] = accuracy(network, others.images, others.classes)
        found |= {f"{name}, {count}": learn_after(network, count, seed) for count in LABELLED}
    return found


MODELS = {
    "few_labels": Model(
        "three networks that find lesions: new, after labelled phantoms, after painting what was hidden",
        lambda: {f"{name}, {start}": classifier(name) for name, start in product(FEATURES, STARTS)},
        learn_before, with_few_labels, (0, 2),
    ),
}  # fmt: skip
