"""Networks that say something about every voxel, U-Net and V-Net, and how they are trained and judged: Dice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.metrics import dice


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Twice: 3 x 3 convolution, batch normalisation, ReLU."""
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """(N, channels, H, W) to (N, classes, H, W), H and W multiples of 2^depth. Ronneberger et al. 2015, with padding.

    Down: half the size, twice the channels, to see far. Up: back to full size. The skips hand over what was sharp on
    the way down; `skips=False` leaves them out, to show what they are for.
    """

    def __init__(self, classes: int, channels: int = 1, base: int = 16, depth: int = 3, *, skips: bool = True) -> None:
        super().__init__()
        self.skips = skips
        widths = [base * 2**level for level in range(depth + 1)]
        self.first = double_convolution(channels, base)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(double_convolution(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(double_convolution(2 * a if skips else a, a) for a in widths[:-1])
        self.last = nn.Conv2d(base, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        kept = []
        for down in self.down:
            kept.append(x)
            x = down(F.max_pool2d(x, 2))
        for up, merge, skip in reversed(list(zip(self.up, self.merge, kept, strict=True))):
            x = up(x)
            x = merge(torch.cat([x, skip], 1) if self.skips else x)
        return self.last(x)


class VNet(nn.Module):
    """(N, channels, [D,] H, W) to (N, classes, [D,] H, W), sizes multiples of 2^depth. Milletari et al. 2016.

    A U-Net whose stages are residual and which halves by a convolution with stride 2. dims=3 is the V-Net; dims=2 is
    the same network in a plane, so that the two can be compared. Kernels of 3, where the paper has 5.
    """

    def __init__(self, classes: int, channels: int = 1, base: int = 8, depth: int = 3, *, dims: int = 3) -> None:
        super().__init__()
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        upwards = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
        norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]

        def stage(inputs: int, width: int) -> nn.Sequential:
            return nn.Sequential(convolution(inputs, width, 3, padding=1, bias=False), norm(width), nn.PReLU(width))

        widths = [base * 2**level for level in range(depth + 1)]
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.first = convolution(channels, base, 3, padding=1)
        self.left = nn.ModuleList(stage(width, width) for width in widths)
        self.down = nn.ModuleList(convolution(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(upwards(b, a, 2, stride=2) for a, b in pairs)
        self.right = nn.ModuleList(stage(2 * a, a) for a in widths[:-1])
        self.last = convolution(base, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x + self.left[0](x)
        kept = []
        for down, left in zip(self.down, self.left[1:], strict=True):
            kept.append(x)
            x = down(x)
            x = x + left(x)
        for up, right, skip in reversed(list(zip(self.up, self.right, kept, strict=True))):
            x = up(x)
            x = x + right(torch.cat([x, skip], 1))
        return self.last(x)


def soft_dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 minus the overlap of probabilities (from N, C, ...) and labels (N, ...), mean over all classes but 0.

    Class 0 is the background. A tissue counts the same whether it is large or small, which cross entropy does not see
    to. Milletari et al. 2016, with sums in the denominator where they have squares.
    """
    probabilities = logits.softmax(1)
    truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    all_but_class = [0, *range(2, logits.dim())]
    overlap = 2 * (probabilities * truth).sum(all_but_class)
    sizes = (probabilities + truth).sum(all_but_class)
    return 1 - (overlap / sizes.clamp(min=1e-6))[1:].mean()


def dice_per_label(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Dice of each named label, 1 being the first name, over maps of any one shape.

    Raises:
        InputError: the shapes differ.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    return {name: dice(labels == index, predicted == index) for index, name in enumerate(names, start=1)}
