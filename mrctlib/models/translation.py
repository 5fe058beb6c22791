"""Networks that turn one image into another: ResNet and U-Net generators, the patch discriminator, the image pool.

Layer by layer as in Zhu et al. 2017 (CycleGAN) and Isola et al. 2017 (pix2pix), with the width and depth left open so
that the same networks fit a laptop. Borders are filled with 0, where Zhu et al. reflect the image: that is faster, the
same in every run on a GPU, and a head has air around it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn


def init_weights(network: nn.Module) -> nn.Module:
    """Normal(0, 0.02) for every convolution, as in both papers; biases 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


class InFull(nn.Sequential):
    """Layers in their weights' own precision also under autocast: near +-1 an image in bfloat16 has steps of 4.9 HU."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(next(self.parameters()).dtype))


def conv_norm_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution, instance normalisation, ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [conv, instance_norm(outputs), nn.ReLU(inplace=True)]


def instance_norm(channels: int) -> nn.Module:
    """Each channel of each image to mean 0 and spread 1 (Ulyanov et al. 2016), with groups of one channel: the same
    numbers as `InstanceNorm2d`, which puts its input in another order in memory and back."""
    return nn.GroupNorm(channels, channels, affine=False)


class ResidualBlock(nn.Module):
    """x + f(x): at the start f is small, so the block starts as the identity and learns what to change."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f = nn.Sequential(*conv_norm_relu(channels, channels, 3), *conv_norm_relu(channels, channels, 3)[:2])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


class ResnetGenerator(nn.Module):
    """(N, 1, H, W) in [-1, 1] to the same, H and W multiples of 4: down by 4, residual blocks, up by 4, tanh.

    Everything passes through a quarter of the resolution: there is no path on which the input could slip through
    unchanged, which is why it copies less readily than a U-Net. Zhu et al. 2017: 9 blocks at 256, 6 at 128.
    """

    def __init__(self, base: int = 64, blocks: int = 9, kernel: int = 7) -> None:
        super().__init__()
        down, up = [], []
        for width in (base, 2 * base):
            down += conv_norm_relu(width, 2 * width, 3, stride=2)
            widen = nn.ConvTranspose2d(2 * width, width, 3, 2, padding=1, output_padding=1, bias=False)
            up = [widen, instance_norm(width), nn.ReLU(inplace=True), *up]
        middle = [ResidualBlock(4 * base) for _ in range(blocks)]
        last = nn.Conv2d(base, 1, kernel, padding=kernel // 2)
        self.layers = nn.Sequential(*conv_norm_relu(1, base, kernel), *down, *middle, *up, InFull(last, nn.Tanh()))
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class UnetGenerator(nn.Module):
    """(N, 1, H, W) in [-1, 1] to the same, H and W multiples of 2^depth: Isola et al. 2017 with `depth` halvings.

    Every resolution is handed across by a skip connection: sharp, and the shortest way for the input to reach the
    output.
    """

    def __init__(self, base: int = 64, depth: int = 4) -> None:
        super().__init__()
        widths = [base * min(2**level, 8) for level in range(depth + 1)]
        self.first = nn.Sequential(*conv_norm_relu(1, base, 3))
        self.down = nn.ModuleList(
            nn.Sequential(*conv_norm_relu(a, b, 3, 2), *conv_norm_relu(b, b, 3))
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in zip(widths[:-1], widths[1:], strict=True))
        self.merge = nn.ModuleList(nn.Sequential(*conv_norm_relu(2 * a, a, 3)) for a in widths[:-1])
        self.last = InFull(nn.Conv2d(base, 1, 3, padding=1), nn.Tanh())
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for up, merge, skip in reversed(list(zip(self.up, self.merge, skips, strict=True))):
            x = merge(torch.cat([up(x), skip], 1))
        return self.last(x)


class PatchDiscriminator(nn.Module):
    """(N, channels, H, W) to (N, 1, h, w): one score for each overlapping patch. Isola et al. 2017: 3 layers, 70x70.

    layers: the number of convolutions with stride 2; channels: of the input.
    """

    def __init__(self, base: int = 64, layers: int = 3, channels: int = 1) -> None:
        super().__init__()
        widths = [base * min(2**level, 8) for level in range(layers + 1)]
        modules: list[nn.Module] = [nn.Conv2d(channels, base, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for level, (width, wider) in enumerate(zip(widths[:-1], widths[1:], strict=True), start=1):
            stride = 2 if level < layers else 1
            modules += [
                nn.Conv2d(width, wider, 4, stride, 1, bias=False),
                instance_norm(wider),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.layers = nn.Sequential(*modules, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def remember(kept: list[Tensor], fakes: Tensor, capacity: int, slots: list[int | None]) -> Tensor:
    """What the discriminator is shown in place of new fakes (N, 1, H, W): these, or old ones. `kept` is changed.

    Until `capacity` are kept, a fake is kept and shown. Then one that has a slot takes the place of the old one there,
    which is shown for the last time; one that has none is shown and not kept. Shrivastava et al. 2017.
    """
    shown = []
    for fake, slot in zip(fakes, slots, strict=True):
        if len(kept) < capacity:
            kept.append(fake)
        elif slot is not None:
            fake, kept[slot] = kept[slot], fake
        shown.append(fake)
    return torch.stack(shown)


class ImagePool:
    """The last fakes: the discriminator sees old ones too, so the generator cannot win by going in circles. Once
    `capacity` are kept, each new fake is swapped for an older one with probability 1/2 (Zhu et al. 2017)."""

    def __init__(self, capacity: int = 50, remember: Callable[..., Tensor] = remember) -> None:
        self.capacity, self.remember = capacity, remember
        self.images: list[Tensor] = []

    def query(self, fakes: Tensor) -> Tensor:
        """(N, 1, H, W) to the same shape: some of the fakes, some from the past. No gradient flows through."""
        full = [len(self.images) + number >= self.capacity for number in range(len(fakes))]
        slots = [random.randrange(self.capacity) if f and random.random() < 0.5 else None for f in full]
        return self.remember(self.images, fakes.detach().clone(), self.capacity, slots)
