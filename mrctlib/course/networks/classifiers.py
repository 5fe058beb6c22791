"""Image classifiers, from LeNet to the blocks of DenseNet, at a size that suits 28 x 28 pixels.

The ideas are those of the papers; widths and depths are smaller. All but LeNet end in a global average, so they take
larger images as well. Every ReLU is a module of its own, so that methods which look at gradients can hook it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """(N, inputs, H, W) to (N, outputs, H / stride, W / stride): convolution, batch normalisation, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def bn_relu_conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """The same three in the order of DenseNet, so that what arrives stays as it was for those who read it later."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), convolution)


def average_and_classify(width: int, classes: int = 10) -> nn.Sequential:
    """(N, width, H, W) to (N, classes): the mean of each channel over the image (Lin et al. 2014), then one layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class LeNet(nn.Sequential):
    """(N, channels, 28, 28) to (N, classes). LeCun et al. 1998 with today's ReLU and max-pooling.

    The paper had tanh, trained averages for pooling and distances to drawn digits for scores.
    """

    def __init__(self, channels: int = 1, classes: int = 10) -> None:
        super().__init__(
            nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),  # 28 -> 14
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),  # 14 -> 10 -> 5
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120), nn.ReLU(),
            nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, classes),
        )  # fmt: skip


class VGG(nn.Sequential):
    """(N, channels, H, W) to (N, classes): nothing but 3 x 3 convolutions. Simonyan and Zisserman 2015.

    layout: the width of each convolution, and "pool" for each halving. Batch normalisation came after the paper; the
    average at the end stands for three dense layers, which hold nine tenths of VGG16's weights.
    """

    def __init__(
        self,
        layout: Sequence[int | str] = (16, 16, "pool", 32, 32, "pool", 64, 64, "pool"),
        channels: int = 1,
        classes: int = 10,
    ) -> None:
        layers: list[nn.Module] = []
        for width in layout:
            if width == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers.append(conv_bn_relu(channels, width))
                channels = width
        super().__init__(*layers, average_and_classify(channels, classes))


def inception_forward(x: Tensor, branches: Iterable[nn.Module]) -> Tensor:
    """(N, C, H, W) to (N, sum of the branches' channels, H, W): all look at the same input, side by side."""
    return torch.cat([branch(x) for branch in branches], dim=1)


class InceptionBlock(nn.Module):
    """(N, inputs, H, W) to (N, one + three[1] + five[1] + pool, H, W): four sizes of detail at once.

    Szegedy et al. 2015 (GoogLeNet), with the batch normalisation of Ioffe and Szegedy 2015. `three` and `five` are
    (width of the 1 x 1 that makes it cheap, width of the convolution itself).
    """

    def __init__(self, inputs: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([
            conv_bn_relu(inputs, one, 1),
            nn.Sequential(conv_bn_relu(inputs, three[0], 1), conv_bn_relu(*three, 3)),
            nn.Sequential(conv_bn_relu(inputs, five[0], 1), conv_bn_relu(*five, 5)),
            nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), conv_bn_relu(inputs, pool, 1)),
        ])  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return inception_forward(x, self.branches)


def residual_forward(x: Tensor, f: nn.Module, shortcut: nn.Module) -> Tensor:
    """What the shortcut hands on, plus the correction that f has learned."""
    return f(x) + shortcut(x)


class BasicBlock(nn.Module):
    """(N, inputs, H, W) to (N, width, H / stride, W / stride): two 3 x 3 convolutions and a shortcut. He et al. 2016.

    The shortcut is the identity where it can be, else a 1 x 1 convolution (the paper's option B). `residual=False`
    leaves it out: the plain network that the paper compares with.
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1, *, residual: bool = True) -> None:
        super().__init__()
        self.f = self.correction(inputs, width, stride)
        outputs = width * self.expansion
        self.shortcut: nn.Module | None = nn.Identity() if residual else None
        if residual and (stride, inputs) != (1, outputs):
            self.shortcut = conv_bn_relu(inputs, outputs, 1, stride)[:2]
        self.relu = nn.ReLU()

    def correction(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        """f, the part that learns; its last ReLU comes after the sum."""
        return nn.Sequential(conv_bn_relu(inputs, width, 3, stride), conv_bn_relu(width, width, 3)[:2])

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.f(x) if self.shortcut is None else residual_forward(x, self.f, self.shortcut))


class BottleneckBlock(BasicBlock):
    """As BasicBlock, (N, inputs, H, W) to (N, 4 width, ...): a 1 x 1 makes it narrow, 3 x 3, a 1 x 1 makes it wide.

    The stride sits in the 3 x 3, as in most code since; the paper has it in the first 1 x 1.
    """

    expansion = 4

    def correction(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            conv_bn_relu(inputs, width, 1),
            conv_bn_relu(width, width, 3, stride),
            conv_bn_relu(width, width * self.expansion, 1)[:2],
        )


def dense_forward(x: Tensor, layers: Iterable[nn.Module]) -> Tensor:
    """(N, C, H, W) to (N, C + what each layer adds, H, W): each layer reads all that came before it."""
    for layer in layers:
        x = torch.cat([x, layer(x)], dim=1)
    return x


class DenseBlock(nn.Module):
    """(N, inputs, H, W) to (N, inputs + layers * growth, H, W): a 1 x 1 before each 3 x 3, as in DenseNet-B.

    Huang et al. 2017.
    """

    def __init__(self, inputs: int, layers: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(bn_relu_conv(seen, 4 * growth, 1), bn_relu_conv(4 * growth, growth, 3))
            for seen in range(inputs, inputs + layers * growth, growth)
        )

    def forward(self, x: Tensor) -> Tensor:
        return dense_forward(x, self.layers)


class Transition(nn.Sequential):
    """(N, inputs, H, W) to (N, outputs, H / 2, W / 2), between two dense blocks."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(bn_relu_conv(inputs, outputs, 1), nn.AvgPool2d(2))
