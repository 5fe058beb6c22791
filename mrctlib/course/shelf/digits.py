"""Handwritten digits: a judge, and five GANs, all trained on MNIST. Images are (N, 1, 28, 28)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.course.digits import Digits, load_handwritten_digits
from mrctlib.course.exercises.lab3 import MultiLayerDiscriminator, MultiLayerGenerator
from mrctlib.course.exercises.lab5 import control, one_hot, slant
from mrctlib.course.fidelity import class_shares, density_and_coverage, frechet_distance
from mrctlib.course.judge import RECIPE, DigitJudge
from mrctlib.course.models import THREE, Model, Networks, load
from mrctlib.course.networks.conditional import ConditionalGenerator
from mrctlib.course.networks.gan import Generator
from mrctlib.course.shelf.game import game, steady_discriminator, steady_projection
from mrctlib.losses import WASSERSTEIN, gradient_penalty, r1_penalty
from mrctlib.runtime import InputError, digest
from mrctlib.training.gan import Penalty, make
from mrctlib.training.supervised import accuracy, fit

COUNT = 5000  # images on each side of a distance
LATENT, STYLE, WIDTH = 100, 64, 24  # length of the noise and of a style; channels
SIZES = {"latent": LATENT, "width": WIDTH}
PHASES = ((8000, 1e-3), (3000, 2e-4))
MULTI_LAYER = {"size": 28, "penalty": None, "batch": 64, "phases": ((6000, 4e-4), (2000, 1e-4))}
WGAN_GP = {
    "loss": WASSERSTEIN, "penalty": gradient_penalty, "critic_steps": 2, "phases": ((4000, 1e-3), (1500, 2e-4)),
}  # fmt: skip


def lazy_r1(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """R1 in a quarter of the steps, four times as dear: nearly as good, and cheaper. Karras et al. 2020."""
    return 4 * r1_penalty(critic, real, fake) if torch.rand(()) < 0.25 else real.new_zeros(())


class RealDigits(nn.Module):
    """What the judge sees in COUNT test digits and in as many training digits, (N, 64), so that fakes can be measured
    where there is no MNIST."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(COUNT, 64))
        self.register_buffer("learned", torch.zeros(COUNT, 64))


class StyledLayer(nn.Module):
    """Maps (N, C, H, W) and styles (N, STYLE) to maps: convolution, noise, leaky ReLU, then the style (AdaIN)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution, self.style = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Linear(STYLE, 2 * outputs)
        self.noise = nn.Parameter(torch.full((outputs, 1, 1), 0.1))  # how much of it each map wants

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.convolution(x)
        x = F.leaky_relu(x + self.noise * torch.randn_like(x[:, :1]), 0.2)
        scale, shift = self.style(w)[:, :, None, None].chunk(2, 1)
        return (1 + scale) * F.instance_norm(x) + shift


class StyleGenerator(nn.Module):
    """Noise (N, LATENT) to images (N, 1, 32, 32), by way of a style for each of four layers. Karras et al. 2019."""

    SIZES = (4, 8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        first, last = nn.Linear(LATENT, STYLE), nn.Linear(STYLE, STYLE)
        self.mapping = nn.Sequential(first, nn.LeakyReLU(0.2), last, nn.LeakyReLU(0.2))
        widths = [4 * WIDTH, 4 * WIDTH, 2 * WIDTH, WIDTH, WIDTH]
        self.constant = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.layers = nn.ModuleList(StyledLayer(a, b) for a, b in pairwise(widths))
        self.to_grey = nn.Conv2d(WIDTH, 1, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)  # or all styles would begin alike

    def draw(self, styles: Sequence[Tensor]) -> Tensor:
        """Images (N, 1, 32, 32) from a style (N, STYLE) for each layer, coarse to fine."""
        x = self.constant.expand(len(styles[0]), -1, -1, -1)
        for size, layer, w in zip(self.SIZES, self.layers, styles, strict=True):
            x = layer(F.interpolate(x, size=(size, size)), w)
        return self.to_grey(x).tanh()

    def forward(self, noise: Tensor) -> Tensor:
        w = self.mapping(noise)
        if not self.training:
            return self.draw([w] * 4)
        other = self.mapping(torch.randn_like(noise))  # while it learns, about half of the images mix two styles
        switch = torch.randint(1, 8, (len(noise), 1), device=noise.device)
        return self.draw([torch.where(layer < switch, w, other) for layer in range(4)])


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


def middle(images: Tensor, size: int = 28) -> Tensor:
    """The middle of images from -1 to 1 (N, 1, S, S), (N, 1, size, size); where they are smaller, in a dark frame."""
    return F.pad(images, [(size - images.shape[-1]) // 2] * 4, value=-1)


def learn_to_judge(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """The judge learns, and looks at real digits."""
    digits, judge, recipe = mnist(), networks["judge"], RECIPE | {"steps": 4000}
    history = fit(judge, digits.train_images, digits.train_classes, **recipe, seed=seed, name="judge", folder=folder)
    networks["real"].features.copy_(judge.cpu().features(some(digits.test_images)))
    networks["real"].learned.copy_(judge.features(some(digits.train_images)))
    return {"recipe": recipe, "seconds": history[-1]["seconds"]} | from_where(digits)


def learn_to_draw(
    networks: Networks, folder: Path, seed: int, *, size: int = 32, penalty: Penalty | None = lazy_r1, **asked: Any
) -> dict[str, Any]:
    """A digit from noise alone; size: of the networks' images; asked: as in `game`."""
    digits, asked = mnist(), {"phases": PHASES, "penalty": penalty} | asked
    images = middle(2 * digits.train_images - 1, size)
    return game(networks, folder, seed, SIZES, images, **asked) | from_where(digits)


def learn_to_write(networks: Networks, folder: Path, seed: int) -> dict[str, Any]:
    """The digit that is asked for, leaning as asked."""
    digits, hand = mnist(), networks["hand"]
    slants = slant(digits.train_images)
    hand.mean.copy_(slants.mean())
    hand.spread.copy_(slants.std())
    images, told = 2 * digits.train_images - 1, hand(digits.train_classes, slants)
    return game(networks, folder, seed, SIZES, images, told, phases=PHASES, penalty=lazy_r1) | from_where(digits)


def from_where(digits: Digits) -> dict[str, Any]:
    """What a model's file says of its data."""
    return {"data": {"name": digits.source, "digest": digest(digits.train_images, digits.train_classes)}}


def judged(networks: Networks, seed: int) -> dict[str, float]:
    """Accuracy on the test digits; and the floors: as many training digits, measured as fakes are."""
    digits = mnist()
    right = accuracy(networks["judge"], digits.test_images, digits.test_classes)
    return {"accuracy": right} | against_real(some(digits.train_images), networks)


def drawn(networks: Networks, seed: int) -> dict[str, float]:
    """How near COUNT digits, of the noise of that seed, are to real ones."""
    noise = torch.randn(COUNT, LATENT, generator=torch.Generator().manual_seed(seed))
    return against_real((middle(make(networks["generator"], noise)) + 1) / 2, load("digit_judge")[0])


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
    "digits_multi_layer": Model(
        "a GAN of linear layers (after Goodfellow et al. 2014)",
        lambda: {"generator": MultiLayerGenerator(LATENT), "discriminator": MultiLayerDiscriminator()},
        partial(learn_to_draw, **MULTI_LAYER), drawn, (0, 1),
    ),
    "digits_dcgan": Model(
        "a DCGAN (Radford et al. 2016) against R1 in place of batch normalisation",
        lambda: {"generator": Generator(LATENT, 1, WIDTH), "discriminator": steady_discriminator(WIDTH)},
        learn_to_draw, drawn, THREE,
    ),
    "digits_wgan_gp": Model(
        "a WGAN-GP (Gulrajani et al. 2017) with the DCGAN's networks",
        lambda: {"generator": Generator(LATENT, 1, WIDTH), "discriminator": steady_discriminator(WIDTH)},
        partial(learn_to_draw, **WGAN_GP), drawn, THREE,
    ),
    "digits_style": Model(
        "a style-based generator (Karras et al. 2019) that learned with mixed styles",
        lambda: {"generator": StyleGenerator(), "discriminator": steady_discriminator(WIDTH)}, learn_to_draw, drawn,
    ),
    "digits_conditional": Model(
        "a DCGAN that is told the digit and its slant, against a projection discriminator (Miyato and Koyama 2018)",
        lambda: {
            "generator": ConditionalGenerator(LATENT, 11, base=WIDTH),
            "discriminator": steady_projection(11, 28, WIDTH), "hand": Hand(),
        }, learn_to_write, written,
    ),
}  # fmt: skip
