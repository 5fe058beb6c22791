"""Handwritten digits: a judge, a DCGAN and a conditional one, trained on MNIST. Images are (N, 1, 28, 28)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.course.digits import Digits, load_handwritten_digits
from mrctlib.course.exercises.lab5 import control, one_hot, slant
from mrctlib.course.fidelity import class_shares, density_and_coverage, frechet_distance
from mrctlib.course.judge import RECIPE, DigitJudge
from mrctlib.course.models import Model, Networks, load
from mrctlib.course.networks.conditional import ConditionalGenerator, ProjectionDiscriminator
from mrctlib.course.networks.gan import Discriminator, Generator
from mrctlib.runtime import InputError, digest
from mrctlib.training.gan import make, play
from mrctlib.training.supervised import accuracy, fit

COUNT = 5000  # images on each side of a distance
LATENT, WIDTH = 100, 24  # length of the noise; channels
GAME = {"steps": 6000, "batch": 64, "rate": 1e-3, "average": 0.998, "watch_every": 500}


class RealDigits(nn.Module):
    """What the judge sees in COUNT test digits, (N, 64), so that fakes can be measured where there is no MNIST."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(COUNT, 64))


class Hand(nn.Module):
    """Classes (N,) and slants (N,) to conditions (N, 11): the class one-hot, the slant in standard deviations."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def forward(self, classes: Tensor, slants: Tensor) -> Tensor:
        return torch.cat([one_hot(classes, 10), ((slants - self.mean) / self.spread)[:, None]], 1)


def mnist() -> Digits:
    """What the models of this module learn from.

    Raises:
        InputError: it cannot be had.
    """
    digits = load_handwritten_digits()
    if not digits.source.startswith("MNIST"):
        raise InputError("digits are learned from MNIST, which is not here: point MRCT_DATA at a folder that has it")
    return digits


def some(images: Tensor) -> Tensor:
    """COUNT of the images, always the same: MNIST's first test digits are of easier writers than its last."""
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:COUNT]]


def learn_to_judge(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """The judge learns, and looks at real test digits."""
    digits, judge, recipe = mnist(), networks["judge"], RECIPE | {"steps": 4000}
    history = fit(judge, digits.train_images, digits.train_classes, **recipe, seed=seed, name="judge", folder=folder)
    networks["real"].features.copy_(judge.cpu().features(some(digits.test_images)))
    return story(digits, history, recipe)


def learn_to_draw(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """A digit from noise alone."""
    digits = mnist()
    return game(networks, folder, seed, digits, F.pad(2 * digits.train_images - 1, (2, 2, 2, 2), value=-1))


def learn_to_write(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """The digit that is asked for, leaning as asked."""
    digits, hand = mnist(), networks["hand"]
    slants = slant(digits.train_images)
    hand.mean.copy_(slants.mean())
    hand.spread.copy_(slants.std())
    return game(networks, folder, seed, digits, 2 * digits.train_images - 1, hand(digits.train_classes, slants))


def game(networks: Networks, folder: Path, seed: int, digits: Digits, *real: Tensor) -> dict[str, Any]:
    """Play; real: the images, and conditions where there are some."""
    players = networks["generator"], networks["discriminator"]
    history = play(*players, *real, noise=LATENT, seed=seed, name=folder.parent.name, folder=folder, **GAME)
    for player in players:
        player.cpu()
    return story(digits, history, GAME | {"latent": LATENT, "width": WIDTH})


def story(digits: Digits, history: list[dict[str, float]], recipe: dict[str, Any]) -> dict[str, Any]:
    """What a model's file says of its training."""
    data = {"name": digits.source, "digest": digest(digits.train_images, digits.train_classes)}
    return {"recipe": recipe, "data": data, "seconds": history[-1]["seconds"]}


def judged(networks: Networks, seed: int) -> dict[str, float]:
    """Accuracy on the test digits; and the floors: as many training digits, measured as fakes are."""
    digits = mnist()
    right = accuracy(networks["judge"], digits.test_images, digits.test_classes)
    return {"accuracy": right} | against_real(some(digits.train_images), networks)


def drawn(networks: Networks, seed: int) -> dict[str, float]:
    """How near COUNT digits, of the noise of that seed, are to real ones."""
    noise = torch.randn(COUNT, LATENT, generator=torch.Generator().manual_seed(seed))
    images = (make(networks["generator"], noise)[..., 2:-2, 2:-2] + 1) / 2
    return against_real(images, load("digit_judge")[0])


def written(networks: Networks, seed: int) -> dict[str, float]:
    """All digits as often, with slants from the normal distribution: do they obey, and how do they vary?"""
    random = torch.Generator().manual_seed(seed)
    noise, hand = torch.randn(COUNT, LATENT, generator=random), networks["hand"]
    asked, wanted = torch.arange(COUNT) % 10, hand.mean + hand.spread * torch.randn(COUNT, generator=random)
    images = (make(networks["generator"], noise, hand(asked, wanted)) + 1) / 2
    known = load("digit_judge")[0]
    judge, real = known["judge"], known["real"].features
    features, said = judge.features(images), judge[-1](real).argmax(1)
    within = [density_and_coverage(real[said == digit], features[asked == digit])[1] for digit in range(10)]
    return against_real(images, known) | {
        "control": control(asked, judge.classes(images)), "coverage_within_a_class": sum(within) / 10,
        "slant_correlation": float(torch.stack([wanted, slant(images)]).corrcoef()[0, 1]),
    }  # fmt: skip


def against_real(images: Tensor, known: Networks) -> dict[str, float]:
    """COUNT images (N, 1, 28, 28) from 0 to 1 beside as many test digits, as the judge sees them."""
    features, shares = known["judge"].features(images), class_shares(known["judge"].classes(images), 10)
    density, coverage = density_and_coverage(known["real"].features, features)
    return {
        "frechet_distance": frechet_distance(known["real"].features, features), "density": density,
        "coverage": coverage, "smallest_share": float(shares.min()), "largest_share": float(shares.max()),
    }  # fmt: skip


MODELS = {
    "digit_judge": Model(
        "a classifier of digits, and what it sees in real ones",
        lambda: {"judge": DigitJudge(), "real": RealDigits()}, learn_to_judge, judged,
    ),
    "digits_dcgan": Model(
        "a DCGAN (Radford et al. 2016)",
        lambda: {"generator": Generator(LATENT, 1, WIDTH), "discriminator": Discriminator(1, WIDTH)},
        learn_to_draw, drawn, seeds=(0, 1, 2),
    ),
    "digits_conditional": Model(
        "a DCGAN that is told the digit and its slant, against a projection discriminator (Miyato and Koyama 2018)",
        lambda: {
            "generator": ConditionalGenerator(LATENT, 11, base=WIDTH),
            "discriminator": ProjectionDiscriminator(11, base=WIDTH), "hand": Hand(),
        }, learn_to_write, written,
    ),
}  # fmt: skip
