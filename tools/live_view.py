"""What the live view of the site needs: shipped networks and heads that none of them has met, as a script of numbers.

The site writes it when it is built, from the shelf, so that the weights are kept in one place.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrctlib.course import models
from mrctlib.course.shelf.translation import pair_of, stranger
from mrctlib.data.volumes import normalise_mr

NETWORKS = {"with pairs": "paired_mr_to_ct", "CycleGAN": "cyclegan_mr_to_ct", "no adversary": "without_adversary"}
PEOPLE, HEIGHTS = (1, 3), (0.15, 0.4)  # strangers, and where in their heads, from the lowest slice to the highest
FINE = 8192  # steps of an MR's brightness for each 1


def write(path: Path) -> None:
    """Write `LIVE`: the networks' tensors, and slices of heads, in base64."""
    live = {"networks": {name: tensors(key) for name, key in NETWORKS.items()}, "slices": slices(), "fine": FINE}
    path.write_text(f"const LIVE = {json.dumps(live)};\n", encoding="utf-8")


def tensors(key: str) -> list[dict[str, Any]]:
    """Name, shape and numbers of each tensor of a shipped generator, in half precision."""
    state = models.load(key)[0]["to_ct"].state_dict()
    return [
        {"name": name, "shape": list(value.shape), "halves": encoded(value.numpy(), "<f2")}
        for name, value in state.items()
    ]


def slices() -> list[dict[str, Any]]:
    """MR from -1 to 1, CT in HU, as whole numbers, and body of slices (R, A), pixels of 2 mm."""
    found = []
    for person in PEOPLE:
        mr, ct, body = pair_of(stranger(0, person))
        brightness, inside = normalise_mr(mr.data, body), np.flatnonzero(body.any((0, 1)))
        for height in HEIGHTS:
            at = int(np.quantile(inside, height))
            images = {
                "mr": (FINE * brightness[..., at]).round(), "ct": ct.data[..., at].round(), "body": body[..., at],
            }  # fmt: skip
            found.append({name: encoded(image, "<i2") for name, image in images.items()})
    return found


def encoded(numbers: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers).astype(kind).tobytes()).decode()


def generator(name: str) -> torch.nn.Module:
    """The network of that name in the view, for the tests to compare with."""
    return models.load(NETWORKS[name])[0]["to_ct"]
