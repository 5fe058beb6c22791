"""A denoiser: a U-Net that is told how noisy its image is. Ho et al. 2020."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WAVES = 32  # numbers that say a time


class Stage(nn.Module):
    """(N, inputs, H, W) and the time (N, told) to (N, outputs, H, W): two convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(8, outputs) for _ in range(2))
        self.told, self.shortcut = nn.Linear(told, outputs), nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        h = F.silu(self.norms[0](self.first(x))) + self.told(told)[:, :, None, None]
        return F.silu(self.norms[1](self.second(h))) + self.shortcut(x)


class Denoiser(nn.Module):
    """Noisy images (N, 1, H, W), times (N,) from 0 to 1, and what is told, to a prediction (N, 1, H, W).

    It works on squares of 2 x 2 pixels, which saves three quarters of the time. base: channels of the finest stage, a
    multiple of 8; depth: halvings after that. told: with `classes`, a class (N,) for each
    image, of which `classes` itself means none; with `seen`, images (N, seen, H, W) to look at; else None.
    """

    def __init__(self, base: int, depth: int, *, classes: int = 0, seen: int = 0) -> None:
        super().__init__()
        width, sizes = 4 * base, [base * 2**level for level in range(depth + 1)]
        self.time = nn.Sequential(nn.Linear(WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.kind = nn.Embedding(classes + 1, width) if classes else None
        self.first = nn.Conv2d(4 * (1 + seen), base, 3, padding=1)
        self.down = nn.ModuleList(Stage(a, b, width) for a, b in pairwise([base, *sizes]))
        self.up = nn.ModuleList(Stage(a + b, a, width) for a, b in pairwise(sizes))
        self.last = nn.Conv2d(base, 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)  # it begins by saying nothing

    def forward(self, x: Tensor, t: Tensor, told: Tensor | None = None) -> Tensor:
        waves = torch.exp(torch.linspace(0, math.log(200), WAVES // 2, device=x.device)) * t[:, None]
        knows = self.time(torch.cat([waves.sin(), waves.cos()], 1))
        if self.kind is not None:
            knows = knows + self.kind(told)
        elif told is not None:
            x = torch.cat([x, told], 1)
        x, kept, knows = self.first(F.pixel_unshuffle(x, 2)), [], F.silu(knows)
        for level, stage in enumerate(self.down):
            x = stage(F.avg_pool2d(x, 2) if level else x, knows)
            kept.append(x)
        x = kept.pop()
        for stage in reversed(self.up):
            x = stage(torch.cat([kept.pop(), F.interpolate(x, scale_factor=2)], 1), knows)
        return F.pixel_shuffle(self.last(x), 2)
