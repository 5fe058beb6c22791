"""Networks that are told what to make, and what to judge: a condition goes in beside the noise or the image.

A condition is a row of numbers, (N, C): 1 for the class and 0 for the others, a slant, the height of a slice, or some
of these side by side. The generator takes it beside its noise. The discriminators differ in how they are told.
Convolutions keep their weights with channels last, which is faster on a CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mrctlib.runtime import InputError

FEATURES = 64  # what a discriminator keeps of an image before it judges


def projection(features: Tensor, told: Tensor) -> Tensor:
    """Inner product of features (N, D) and the conditions' learned vectors (N, D): (N,). Miyato and Koyama 2018."""
    return (features * told).sum(1)


class ConditionalGenerator(nn.Module):
    """Noise (N, latent) and conditions (N, C) to images (N, 1, size, size) from -1 to 1.

    A DCGAN (Radford et al. 2016) whose first layer takes noise and condition side by side. A layer that multiplies a
    one-hot row by its weights picks one column of them, so this is a learned embedding of the class as well.

    Raises:
        InputError: the size cannot be halved down to between 4 and 8 pixels.
    """

    def __init__(self, latent: int, conditions: int, size: int = 28, base: int = 16) -> None:
        super().__init__()
        start, doublings = _halvings(size)
        width = base * 2**doublings
        layers = [
            nn.Linear(latent + conditions, width * start**2, bias=False),
            nn.Unflatten(1, (width, start, start)), nn.BatchNorm2d(width), nn.ReLU(),
        ]  # fmt: skip
        for _ in range(doublings - 1):
            layers += [
                nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width // 2), nn.ReLU(),
            ]  # fmt: skip
            width //= 2
        layers += [nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1), nn.Tanh()]
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)

    def forward(self, noise: Tensor, conditions: Tensor) -> Tensor:
        return self.layers(torch.cat([noise, conditions], 1))


def image_features(channels: int, size: int, base: int) -> nn.Sequential:
    """(N, channels, size, size) to (N, FEATURES): strided convolutions, no batch normalisation in the first."""
    start, halvings = _halvings(size)
    layers, width = [nn.Conv2d(channels, 2 * base, 4, stride=2, padding=1), nn.LeakyReLU(0.2)], 2 * base
    for _ in range(halvings - 1):
        layers += [
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2),
        ]  # fmt: skip
        width *= 2
    layers += [nn.Flatten(), nn.Linear(width * start**2, FEATURES), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


class ProjectionDiscriminator(nn.Module):
    """Images (N, 1, size, size) and conditions (N, C) to scores (N,). Miyato and Koyama 2018, equation 3.

    The image is read without its condition. What was seen is then held against a learned vector for the condition:
    score = w . features + (V condition) . features.
    """

    def __init__(self, conditions: int, size: int = 28, base: int = 16) -> None:
        super().__init__()
        self.features, self.score = image_features(1, size, base), nn.Linear(FEATURES, 1)
        self.embed = nn.Linear(conditions, FEATURES, bias=False)

    def forward(self, images: Tensor, conditions: Tensor) -> Tensor:
        seen = self.features(images)
        return self.score(seen)[:, 0] + projection(seen, self.embed(conditions))


def _halvings(size: int) -> tuple[int, int]:
    """The size after halving down to at most 8 pixels, and how many halvings that takes."""
    start, count = size, 0
    while start > 8 and start % 2 == 0:
        start, count = start // 2, count + 1
    if not count or start > 8:
        raise InputError(f"images of {size} pixels: take 4 to 8 pixels times a power of 2, such as 28, 32 or 64")
    return start, count
