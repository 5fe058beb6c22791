"""Handwritten digits: a judge, and GANs of equal budget, trained on MNIST. Images are (N, 1, 28, 28)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.course.digits import Digits, load_handwritten_digits
from mrctlib.course.fidelity import class_shares, density_and_coverage, frechet_distance
from mrctlib.course.judge import DigitJudge, train_judge
from mrctlib.course.models import Model, load
from mrctlib.course.networks.gan import Discriminator, Generator
from mrctlib.losses import NON_SATURATING, WASSERSTEIN, gradient_penalty
from mrctlib.runtime import InputError, digest
from mrctlib.training.gan import make, play
from mrctlib.training.supervised import accuracy

LATENT, WIDTH, COUNT = 100, 32, 5000  # length of the noise; channels; images on each side of a distance


class RealDigits(nn.Module):
    """What the judge sees in real digits: features of COUNT test digits (N, 64), so that nobody needs MNIST to measure."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(COUNT, 64))


def mnist() -> Digits:
    """MNIST, which all models of this module learn from.

    Raises:
        InputError: it cannot be had.
    """
    digits = load_handwritten_digits()
    if not digits.source.startswith("MNIST"):
        raise InputError("models of digits learn from MNIST, which is not here: point MRCT_DATA at a folder that has it")
    return digits


def said(digits: Digits, recipe: dict[str, Any], seconds: float) -> dict[str, Any]:
    data = {"name": digits.source, "digest": digest(digits.train_images, digits.train_classes)}
    return {"recipe": recipe, "data": data, "seconds": seconds}


def learn_to_judge(networks: Mapping[str, nn.Module], folder: Path, seed: int) -> dict[str, Any]:
    digits, steps = mnist(), 4000
    judge, seconds = train_judge(digits, steps=steps, seed=seed, folder=folder)
    networks["judge"].load_state_dict(judge.state_dict())
    networks["real"].features.copy_(networks["judge"].eval().features(digits.test_images[:COUNT]))
    return said(digits, {"steps": steps}, seconds)
