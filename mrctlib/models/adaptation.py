"""Domain adaptation: a network whose features are to look the same on two scanners, and its adversary."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mrctlib.models.segmentation import UNet
from mrctlib.runtime import InputError


def reverse_gradient(features: Tensor, strength: float = 1.0) -> Tensor:
    """The features, any shape, as they are; their gradient comes back times -strength. Ganin and Lempitsky 2015.

    What stands before it climbs the loss that what stands behind it descends: a game of two with one loss and one step.
    """
    constant = features.detach()
    return constant - strength * (features - constant)  # the bracket is 0, but it has a gradient


class DomainClassifier(nn.Sequential):
    """(N, channels, H, W) to (N, 1, h, w), H and W at least 15: which scanner? A score for each patch of 15 pixels.

    High for the scanner with labels. No normalisation: how bright the features are may be what gives a scanner away.
    """

    def __init__(self, channels: int, base: int = 16) -> None:
        super().__init__(
            nn.Conv2d(channels, base, 3, stride=2), nn.LeakyReLU(0.2),  # sees 3 pixels
            nn.Conv2d(base, 2 * base, 3, stride=2), nn.LeakyReLU(0.2),  # 7
            nn.Conv2d(2 * base, 2 * base, 3, stride=2), nn.LeakyReLU(0.2),  # 15
            nn.Conv2d(2 * base, 1, 1),
        )  # fmt: skip


class AdversarialUNet(nn.Module):
    """A copy of a trained U-Net, with an adversary on its last features. After Kamnitsas et al. 2017.

    Pairs (N, 2, H, W), a slice of the scanner with labels and a slice of the other, to scores of the tissues for the
    first, (N, classes, H, W), and scores of the adversary for all, (2 N, 1, h, w), the first scanner first. A single
    slice (N, 1, H, W) gives scores of the tissues alone.

    strength: how hard the features work against the adversary, 0: not at all.
    """

    def __init__(self, unet: UNet, strength: float) -> None:
        super().__init__()
        self.features = copy.deepcopy(unet)
        self.last, self.features.last = self.features.last, nn.Identity()
        self.adversary = DomainClassifier(self.last.in_channels)
        self.strength = strength

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if images.shape[1] == 1:
            return self.last(self.features(images))
        if images.shape[1] != 2:
            raise InputError(f"{images.shape[1]} channels: give one slice, or a pair with a slice of each scanner")
        features = self.features(torch.cat(images.split(1, 1)))  # (2 N, width, H, W): one batch of both scanners
        tissues = self.last(features[: len(images)])
        return tissues, self.adversary(reverse_gradient(features, self.strength))
