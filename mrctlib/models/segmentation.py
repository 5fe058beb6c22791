"""Networks that say something about every voxel: from a sliding window to U-Net and V-Net."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchClassifier(nn.Sequential):
    """(N, channels, window, window) to (N, classes): what is the tissue of the pixel in the middle?

    No padding, so nothing outside the window is made up (Ciresan et al. 2012 segmented membranes with such a network).
    """

    window = 21

    def __init__(self, classes: int, channels: int = 1, base: int = 16) -> None:
        super().__init__(
            nn.Conv2d(channels, base, 5), nn.ReLU(),  # 21 -> 17
            nn.Conv2d(base, base, 5), nn.ReLU(),  # 17 -> 13
            nn.Conv2d(base, base, 5), nn.ReLU(),  # 13 -> 9
            nn.Flatten(),
            nn.Linear(base * 9 * 9, base), nn.ReLU(),
            nn.Linear(base, classes),
        )  # fmt: skip


def sliding_window(network: nn.Module, image: Tensor, window: int) -> Tensor:
    """(channels, H, W) to (classes, H - window + 1, W - window + 1): the network asked about every window by itself."""
    patches = image.unfold(1, window, 1).unfold(2, window, 1)  # (channels, H', W', window, window)
    height, width = patches.shape[1:3]
    patches = patches.permute(1, 2, 0, 3, 4).flatten(0, 1)
    return torch.cat([network(part) for part in patches.split(512)]).T.unflatten(1, (height, width))


def all_convolutional(network: nn.Sequential, size: int) -> nn.Sequential:
    """The same weights as a network without dense layers, which takes images of any size in one go (Long et al. 2015).

    The first dense layer sees feature maps of size x size: it is a convolution with a kernel of that size. Every later
    one sees a single point: it is a 1 x 1 convolution.
    """
    layers: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, nn.Linear):
            kernel = layer.weight.view(layer.out_features, -1, size, size)
            convolution = nn.Conv2d(kernel.shape[1], layer.out_features, size)
            convolution.load_state_dict({"weight": kernel, "bias": layer.bias})
            layers.append(convolution)
            size = 1
        elif not isinstance(layer, nn.Flatten):
            layers.append(copy.deepcopy(layer))
    return nn.Sequential(*layers)


class DilatedNetwork(nn.Sequential):
    """(N, channels, H, W) to (N, classes, H, W): a receptive field that doubles with each layer, at full resolution.

    The context module of Yu and Koltun 2016: 3 x 3 kernels whose taps move apart by `dilations` pixels.
    """

    dilations = (1, 1, 2, 4, 8, 1)

    def __init__(self, classes: int, channels: int = 1, base: int = 16) -> None:
        layers: list[nn.Module] = []
        for dilation in self.dilations:
            layers += [nn.Conv2d(channels, base, 3, padding=dilation, dilation=dilation, bias=False)]
            layers += [nn.BatchNorm2d(base), nn.ReLU()]
            channels = base
        super().__init__(*layers, nn.Conv2d(base, classes, 1))


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
