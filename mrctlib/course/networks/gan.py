"""Networks that make images from noise, and those that judge them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Generator(nn.Sequential):
    """Noise (N, latent) to images (N, channels, 32, 32) from -1 to 1. Radford et al. 2016 (DCGAN), in small.

    Each layer doubles height and width by a transposed convolution and halves the channels, down to `base` before the
    last; batch normalisation and ReLU in between, tanh at the end.
    """

    def __init__(self, latent: int = 64, channels: int = 3, base: int = 32) -> None:
        super().__init__(
            nn.Unflatten(1, (latent, 1, 1)),
            nn.ConvTranspose2d(latent, 4 * base, 4, bias=False), nn.BatchNorm2d(4 * base), nn.ReLU(),  # 1 -> 4
            _doubled(4 * base, 2 * base), nn.BatchNorm2d(2 * base), nn.ReLU(),  # 4 -> 8
            _doubled(2 * base, base), nn.BatchNorm2d(base), nn.ReLU(),  # 8 -> 16
            _doubled(base, channels), nn.Tanh(),  # 16 -> 32
        )  # fmt: skip
        self.apply(_start_small)


class Discriminator(nn.Sequential):
    """Images (N, channels, 32, 32) from -1 to 1 to one logit each, (N,): high for real. Radford et al. 2016, in small.

    Strided convolutions instead of pooling, leaky ReLU, no batch normalisation in the first layer. `last`: size of the
    last map, an eighth of the images'.
    """

    def __init__(self, channels: int = 3, base: int = 32, last: int = 4) -> None:
        super().__init__(
            _halved(channels, base), nn.LeakyReLU(0.2),  # 32 -> 16
            _halved(base, 2 * base), nn.BatchNorm2d(2 * base), nn.LeakyReLU(0.2),  # 16 -> 8
            _halved(2 * base, 4 * base), nn.BatchNorm2d(4 * base), nn.LeakyReLU(0.2),  # 8 -> 4
            nn.Conv2d(4 * base, 1, last), nn.Flatten(0),  # 4 -> 1
        )  # fmt: skip
        self.apply(_start_small)


class Grain(nn.Module):
    """Noise of its own on every value of maps (N, channels, H, W), as strong in each channel as is learned, for texture
    that a few latent numbers cannot bring. Karras et al. 2019."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.full((channels, 1, 1), 0.1))

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.strength * torch.randn_like(maps)


class GrainyGenerator(nn.Sequential):
    """Noise (N, latent) to images (N, 1, 8 first, 8 first) from -1 to 1, with grain at every size. Sizes double by
    repeating pixels and a convolution, which leaves no checkerboard (Odena et al. 2016)."""

    def __init__(self, latent: int, base: int, first: int) -> None:
        stages = [nn.Unflatten(1, (latent, 1, 1)), nn.ConvTranspose2d(latent, 4 * base, first, bias=False)]
        for wider, width in ((4 * base, 2 * base), (2 * base, base)):
            stages += [nn.BatchNorm2d(wider), Grain(wider), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2)]
            stages += [nn.Conv2d(wider, width, 3, padding=1, bias=False)]
        stages += [nn.BatchNorm2d(base), Grain(base), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2)]
        stages += [nn.Conv2d(base, base, 3, padding=1), Grain(base), nn.LeakyReLU(0.2)]
        super().__init__(*stages, nn.Conv2d(base, 1, 3, padding=1), nn.Tanh())


def _doubled(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def _halved(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def _start_small(layer: nn.Module) -> None:
    """The paper's start: weights from a normal distribution of width 0.02, so that the first images are near grey."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0, 0.02)
    if isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1, 0.02)
