"""Classifiers of small images from before and after 2017: a ResNet, a ConvNeXt and a vision transformer.

All three begin with patches, a convolution whose stride is as wide as its kernel, and hand on a map of features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mrctlib.course.networks.classifiers import BasicBlock


class ConvNeXtBlock(nn.Module):
    """(N, width, H, W) to the same: a 7 x 7 kernel in each channel alone, then a small network at each place alone.

    Liu et al. 2022.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.places = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.alone = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.places(x).movedim(1, -1)  # (N, H, W, width)
        return x + self.alone(self.norm(y)).movedim(-1, 1)


class AttentionBlock(nn.Module):
    """(N, patches, width) to the same: every patch asks all others, then a small network at each patch alone.

    Dosovitskiy et al. 2021 (ViT), after Vaswani et al. 2017.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.before_asking, self.before_thinking = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.alone = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.before_asking(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.alone(self.before_thinking(x))


class VisionTransformer(nn.Module):
    """Images (N, 1, H, W) to features (N, width, H / patch, W / patch): patches, told their place, and attention."""

    def __init__(self, size: tuple[int, int], patch: int, width: int, depth: int) -> None:
        super().__init__()
        places = (size[0] // patch) * (size[1] // patch)
        self.patches = nn.Conv2d(1, width, patch, stride=patch)
        self.place = nn.Parameter(0.02 * torch.randn(1, places, width))
        self.blocks = nn.Sequential(*(AttentionBlock(width) for _ in range(depth)), nn.LayerNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.patches(x)
        tokens = self.blocks(maps.flatten(2).transpose(1, 2) + self.place)
        return tokens.transpose(1, 2).reshape(maps.shape)


def resnet(patch: int, width: int, depth: int) -> nn.Sequential:
    """Images (N, 1, H, W) to features (N, width, H / patch, W / patch), by blocks of two 3 x 3 convolutions."""
    return nn.Sequential(nn.Conv2d(1, width, patch, stride=patch), *(BasicBlock(width, width) for _ in range(depth)))


def convnext(patch: int, width: int, depth: int) -> nn.Sequential:
    """Images (N, 1, H, W) to features (N, width, H / patch, W / patch), by ConvNeXt's blocks."""
    return nn.Sequential(nn.Conv2d(1, width, patch, stride=patch), *(ConvNeXtBlock(width) for _ in range(depth)))
