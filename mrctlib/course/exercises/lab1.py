"""Exercises and questions of the lab on networks that tell digits apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.course.exercises.core import Exercise, Question
from mrctlib.course.networks.classifiers import dense_forward, inception_forward, residual_forward


def _whole(low: int, high: int) -> int:
    """A random whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, ()))


def training_loop(
    network: nn.Module, optimiser: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]]
) -> list[float]:
    """Train a network in place, a step for each batch (images, classes); returns the losses, each before its step."""
    losses = []
    for images, classes in batches:
        loss = F.cross_entropy(network(images), classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def _ready_to_learn() -> tuple[nn.Module, torch.optim.Optimizer, list[tuple[Tensor, Tensor]]]:
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 4))
    batches = [(torch.randn(5, 1, 3, 3), torch.randint(4, (5,))) for _ in range(4)]
    return network, torch.optim.SGD(network.parameters(), 0.5), batches


def _loop(turn: Callable[[Callable[[], Tensor], torch.optim.Optimizer], Tensor]) -> Callable:
    """A loop with another turn: from (what computes the loss, the optimiser) to the loss."""

    def method(network: nn.Module, optimiser: torch.optim.Optimizer, batches: list) -> list[float]:
        return [turn(lambda x=x, y=y: F.cross_entropy(network(x), y), optimiser).item() for x, y in batches]

    return method


def _without_emptying(loss: Callable, optimiser: torch.optim.Optimizer) -> Tensor:
    (value := loss()).backward()
    optimiser.step()
    return value


def _no_step(loss: Callable, optimiser: torch.optim.Optimizer) -> Tensor:
    optimiser.zero_grad()
    (value := loss()).backward()
    return value


def _loss_afterwards(loss: Callable, optimiser: torch.optim.Optimizer) -> Tensor:
    optimiser.zero_grad()
    loss().backward()
    optimiser.step()
    return loss()


def _softmax_twice(network: nn.Module, optimiser: torch.optim.Optimizer, batches: list) -> list[float]:
    return training_loop(nn.Sequential(network, nn.Softmax(1)), optimiser, batches)


Exercise(
    "architectures.training_loop",
    reference=training_loop,
    inputs=_ready_to_learn,
    wrong=[
        (_loop(_without_emptying), "The gradients add up from batch to batch: `optimiser.zero_grad()` before each `backward()`."),
        (_loop(_no_step), "The weights never move. The order is: empty (`zero_grad`), gradient (`backward`), step (`step`), and all three are needed."),
        (_loop(_loss_afterwards), "These are the losses *after* each step: keep the one that the step was made from."),
        (_softmax_twice, "`F.cross_entropy` wants the scores as they are: it takes the softmax itself."),
        (lambda n, o, b: training_loop(n, o, b)[-1], "One loss for each batch, in a list: this is the last one alone."),
        (lambda n, o, b: sum(training_loop(n, o, b)), "One loss for each batch, in a list: this is their sum."),
        (lambda n, o, b: training_loop(n, o, b[:1]), "You return after the first batch: the `return` stands inside the loop."),
    ],
)  # fmt: skip


def output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Width in pixels of what a convolution makes of an image of `size` pixels with `padding` on either side."""
    return (size + 2 * padding - kernel) // stride + 1


def _one_pixel_over() -> tuple[int, int, int, int]:
    """Always one pixel left over by the stride, so that rounding shows, and always some padding."""
    kernel, stride, padding = 2 * _whole(2, 3) + 1, _whole(2, 3), _whole(1, 2)
    return stride * _whole(8, 20) + 1 + kernel - 2 * padding, kernel, stride, padding


Exercise(
    "architectures.output_size",
    reference=output_size,
    inputs=_one_pixel_over,
    wrong=[
        (lambda n, k, s, p: (n + p - k) // s + 1, "Padding is added on both sides: count it twice."),
        (lambda n, k, s, p: (n + 2 * p - k) // s, "The first place of the kernel counts too: one more than the steps."),
        (lambda n, k, s, p: (n + 2 * p - k) / s + 1, "Half a step is no step: round down with `//`."),
        (lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1, "Round down: a kernel that hangs over the edge does not count."),
        (lambda n, k, s, p: n + 2 * p - k + 1, "The stride is missing: the kernel moves that many pixels at a time."),
        (lambda n, k, s, p: (n - k) // s + 1, "The padding is missing."),
    ],
)  # fmt: skip


def convolution_weights(inputs: int, outputs: int, kernel: int) -> int:
    """How many numbers a square convolution learns, biases included."""
    return outputs * (inputs * kernel**2 + 1)


Exercise(
    "architectures.convolution_weights",
    reference=convolution_weights,
    inputs=lambda: (_whole(2, 9), _whole(10, 20), _whole(3, 7)),
    wrong=[
        (lambda i, o, k: o * i * k**2, "The biases are missing: one for each output channel."),
        (lambda i, o, k: o * (k**2 + 1), "Each kernel reaches through all input channels."),
        (lambda i, o, k: o * (i * k + 1), "A kernel has a width and a height."),
        (lambda i, o, k: o * i * (k**2 + 1), "There is one bias for each output channel, not for each pair of channels."),
        (lambda i, o, k: o * i * k**2 + 1, "There is one bias for each output channel, not one in all."),
        (lambda i, o, k: i * (o * k**2 + 1), "The biases belong to the output channels."),
    ],
)  # fmt: skip


Question(
    "architectures.dense_instead",
    text="LeNet's first convolution turns 28 x 28 numbers into 6 maps of 28 x 28. How many numbers, biases included, "
    "would a dense layer learn for the same sizes?",
    answer=6 * 28 * 28 * (28 * 28 + 1),
    unit="weights and biases",
    explanation="The convolution needs 156: every place shares the same small kernels.",
    wrong={
        6 * 28 * 28 * 28 * 28: "Almost: every output has a bias as well.",
        6 * (28 * 28 + 1): "That is a layer with 6 outputs; here there are 6 x 28 x 28.",
        6 * (5 * 5 + 1): "That is the convolution itself. In a dense layer every output sees every pixel.",
    },
)

_LENET = {
    "a": "the two convolutions",
    "b": "the first dense layer, from 400 to 120",
    "c": "the second dense layer, from 120 to 84",
    "d": "the last layer, from 84 to 10",
}

Question(
    "architectures.most_weights",
    text="Where do most of LeNet's weights sit?",
    choices=list(_LENET.values()),
    answer="b",
    explanation="It has 48,120 of 61,706. Later networks average each channel before the last layer instead.",
    wrong={
        "a": "They do most of the arithmetic, but they share their weights over all places. Look at the table.",
        "d": "It is the smallest dense layer of the three. Look at the table.",
    },
)


def vgg_stage(x: Tensor, convolutions: Sequence[nn.Module]) -> Tensor:
    """(N, C, H, W) to (N, C', H / 2, W / 2): each convolution with its ReLU, in turn, then 2 x 2 max-pooling."""
    for convolution in convolutions:
        x = F.relu(convolution(x))
    return F.max_pool2d(x, 2)


def _features(channels: int) -> Tensor:
    return torch.randn(2, channels, 6, 8, requires_grad=True)


def _vgg_without_relu(x: Tensor, convolutions: Sequence[nn.Module]) -> Tensor:
    for convolution in convolutions:
        x = convolution(x)
    return F.max_pool2d(x, 2)


def _vgg_average(x: Tensor, convolutions: Sequence[nn.Module]) -> Tensor:
    for convolution in convolutions:
        x = F.relu(convolution(x))
    return F.avg_pool2d(x, 2)


def _vgg_pools_each_time(x: Tensor, convolutions: Sequence[nn.Module]) -> Tensor:
    for convolution in convolutions:
        x = F.max_pool2d(F.relu(convolution(x)), 2)
    return x


def _vgg_without_pool(x: Tensor, convolutions: Sequence[nn.Module]) -> Tensor:
    for convolution in convolutions:
        x = F.relu(convolution(x))
    return x


Exercise(
    "architectures.vgg_stage",
    reference=vgg_stage,
    inputs=lambda: (_features(3), [nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1)]),
    wrong=[
        (_vgg_without_relu, "Without a ReLU after each, two convolutions in a row are but one larger convolution."),
        (lambda x, cs: F.max_pool2d(F.relu(cs[1](cs[0](x))), 2), "The ReLU belongs after every convolution, not only after the last."),
        (_vgg_average, "This is the average of each 2 x 2 square: VGG takes the maximum."),
        (_vgg_pools_each_time, "You pool after every convolution: pool once, at the end."),
        (_vgg_without_pool, "The pooling at the end is missing."),
        (lambda x, cs: F.max_pool2d(F.relu(cs[0](x)), 2), "Only the first convolution is used: is the `return` inside the loop?"),
        (lambda x, cs: _vgg_without_pool(F.max_pool2d(x, 2), cs), "You pool first: the convolutions should see full resolution."),
    ],
)  # fmt: skip

Question(
    "architectures.small_kernels",
    text="Two 3 x 3 convolutions in a row see 5 x 5 pixels. All with 32 channels in and out, without biases: how many "
    "percent fewer weights than one 5 x 5 convolution?",
    answer=100 * (1 - 2 * 9 / 25),
    unit="percent",
    tolerance=0.5,
    explanation="18 instead of 25 for each pair of channels, and a ReLU more.",
    wrong={
        100 * 2 * 9 / 25: "That is what is left: how much is saved?",
        100 * (1 - 9 / 25): "That is for one 3 x 3 convolution: there are two.",
    },
)

Exercise(
    "architectures.inception",
    reference=inception_forward,
    inputs=lambda: (_features(4), [nn.Conv2d(4, 3, 1), nn.Conv2d(4, 2, 3, padding=1), nn.Conv2d(4, 4, 5, padding=2)]),
    wrong=[
        (lambda x, bs: torch.cat([b(x) for b in bs], dim=0), "The channels are dimension 1; this puts the branches side by side as images."),
        (lambda x, bs: torch.cat([b(x) for b in bs], dim=2), "Dimension 2 is the height: join the channels, dimension 1."),
        (lambda x, bs: torch.cat([b(x) for b in bs], dim=3), "Dimension 3 is the width: join the channels, dimension 1."),
        (lambda x, bs: torch.cat([b(x) for b in reversed(bs)], dim=1), "Keep the order of the branches."),
        (lambda x, bs: torch.cat([x, *(b(x) for b in bs)], dim=1), "The input itself is not handed on here: that is DenseNet."),
        (lambda x, bs: sum(b(x) for b in bs), "The branches are joined as channels, not added."),
        (lambda x, bs: nn.Sequential(*bs)(x), "One after the other is a chain: each branch sees the same input."),
        (lambda x, bs: [b(x) for b in bs], "This is a list of branches: join them with `torch.cat`."),
    ],
)  # fmt: skip

Question(
    "architectures.inception_channels",
    text="A block has branches of 8, 16, 8 and 8 channels and reads 16. How many channels does it give?",
    answer=8 + 16 + 8 + 8,
    unit="channels",
    explanation="They are joined, so they add up; the height and width stay.",
    wrong={
        56: "Those that come in are not handed on.",
        16: "The branches are joined side by side, not added.",
        10: "The sum, not the mean.",
    },
)


Exercise(
    "architectures.residual",
    reference=residual_forward,
    inputs=lambda: (_features(4), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)),
    wrong=[
        (lambda x, f, shortcut: f(x) + x, "Where sizes differ, x itself does not fit: send it through the shortcut."),
        (lambda x, f, shortcut: f(x), "The shortcut is missing: this is the plain network."),
        (lambda x, f, shortcut: shortcut(x) + f(shortcut(x)), "f reads x itself, not what the shortcut gives."),
        (lambda x, f, shortcut: x + f(x) + shortcut(x), "One way round is enough: the shortcut already carries x."),
        (lambda x, f, shortcut: shortcut(x) + F.relu(f(x)), "A correction must be free to go down as well: no ReLU before the sum."),
        (lambda x, f, shortcut: F.relu(shortcut(x) + f(x)), "The sum is right; the block itself puts the ReLU behind it."),
        (lambda x, f, shortcut: shortcut(f(x)), "This is a chain: add the two."),
        (lambda x, f, shortcut: f(shortcut(x)), "One after the other is a chain: both read x, and the results are added."),
        (lambda x, f, shortcut: shortcut(x) - f(x), "The correction is added, not taken away."),
        (lambda x, f, shortcut: torch.cat([shortcut(x), f(x)], dim=1), "Residual networks add; to join is DenseNet's way."),
    ],
)  # fmt: skip

Question(
    "architectures.zero_correction",
    text="At some moment all weights of f are 0, and the shortcut is the identity. What does the sum give?",
    choices=["zeros", "x unchanged", "half of x", "noise"],
    answer="b",
    explanation="To do nothing is easy for such a block, so one more block need not hurt. A plain network has to learn it.",
    wrong={"a": "f gives zeros, but the shortcut still hands x on.", "c": "Nothing is averaged: the two are added."},
)

Exercise(
    "architectures.dense",
    reference=dense_forward,
    inputs=lambda: (_features(4), [nn.Conv2d(4, 2, 1), nn.Conv2d(6, 2, 3, padding=1), nn.Conv2d(8, 2, 1)]),
    wrong=[
        (lambda x, ls: torch.cat([x, ls[0](x)], dim=1), "Only the first layer is used: is the `return` inside the loop?"),
        (lambda x, ls: dense_forward(x, ls)[:, x.shape[1] :], "The input is handed on as well: start from x."),
        (lambda x, ls: dense_forward(x, ls)[:, -2:], "What the earlier layers gave is handed on as well."),
        (lambda x, ls: _joined_in_front(x, ls), "What is new comes behind what was there: `[x, layer(x)]`."),
        (lambda x, ls: nn.Sequential(*ls)(x), "A layer reads all that came before it, not only the last: join as you go."),
        (lambda x, ls: torch.cat([x, *(layer(x) for layer in ls)], dim=1), "Every layer reads the input alone here: let it read what has been joined so far."),
    ],
)  # fmt: skip


def _joined_in_front(x: Tensor, layers: Sequence[nn.Module]) -> Tensor:
    for layer in layers:
        x = torch.cat([layer(x), x], dim=1)
    return x


Question(
    "architectures.dense_channels",
    text="A dense block reads 16 channels and has 3 layers of growth 8. How many channels does it give?",
    answer=16 + 3 * 8,
    unit="channels",
    explanation="Each layer adds 8, and nothing is thrown away until the transition.",
    wrong={24: "The 16 that came in are still there.", 8: "That is one layer's share.", 128: "They are joined, so they add up."},
)  # fmt: skip


def batch_norm(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(N, C, H, W) to the same: each channel to mean 0 and variance 1, then times scale (C,), plus shift (C,).

    Mean and variance (C,) are those of the batch itself (training) unless they are given (evaluation).
    Ioffe and Szegedy 2015, algorithm 1.
    """
    if mean is None or variance is None:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    column = (1, -1, 1, 1)
    normalised = (x - mean.view(column)) / (variance.view(column) + eps).sqrt()
    return scale.view(column) * normalised + shift.view(column)


class BatchNorm(nn.Module):
    """(N, C, H, W) to the same: the batch's own statistics in training, their running mean in evaluation.

    As torch's BatchNorm2d: the running variance is the unbiased one, the one divided by is not.
    """

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return batch_norm(x, self.weight, self.bias, self.running_mean, self.running_var)
        with torch.no_grad():
            self.running_mean.lerp_(x.mean((0, 2, 3)), self.momentum)
            self.running_var.lerp_(x.var((0, 2, 3)), self.momentum)
        return batch_norm(x, self.weight, self.bias)


def _batch() -> tuple[Tensor, Tensor, Tensor]:
    # Channels far apart, and different sizes on every axis, so that a mean over the wrong ones shows.
    x = (
        torch.tensor([-3.0, 0.5, 4.0])[:, None, None]
        + torch.rand(2, 3, 2, 4) * torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    )
    return x.requires_grad_(), torch.rand(3) + 0.5, torch.randn(3)


def _normalised_over(x: Tensor, scale: Tensor, shift: Tensor, axes: tuple[int, ...], correction: int = 0) -> Tensor:
    mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=correction, keepdim=True)
    return scale.view(1, -1, 1, 1) * (x - mean) / (variance + 1e-5).sqrt() + shift.view(1, -1, 1, 1)


Exercise(
    "architectures.batch_norm",
    reference=batch_norm,
    inputs=_batch,
    tolerance=1e-4,
    wrong=[
        (lambda x, scale, shift: _normalised_over(x, scale, shift, (2, 3)), "This is instance normalisation: the mean goes over the images of the batch too."),
        (lambda x, scale, shift: _normalised_over(x, scale, shift, (1, 2, 3)), "This is layer normalisation: each channel has a mean of its own, over the whole batch."),
        (lambda x, scale, shift: _normalised_over(x, scale, shift, (0,)), "A mean for every pixel: a channel's mean goes over height and width too, axes (0, 2, 3)."),
        (lambda x, scale, shift: _normalised_over(x, scale, shift, (0, 1, 2, 3)), "One mean for everything: each channel has its own, axes (0, 2, 3)."),
        (lambda x, scale, shift: _normalised_over(x, scale, shift, (0, 2, 3), 1), "`var` divides by n - 1 here; batch norm divides by n: correction=0."),
        (lambda x, scale, shift: batch_norm(x, torch.ones_like(scale), torch.zeros_like(shift)), "Scale and shift are missing."),
        (lambda x, scale, shift: batch_norm(x, scale, torch.zeros_like(shift)), "The shift is missing."),
        (lambda x, scale, shift: batch_norm(x, torch.ones_like(scale), shift), "The scale is missing."),
        (lambda x, scale, shift: (batch_norm(x, torch.ones_like(scale), shift)) * scale.view(1, -1, 1, 1), "First scale, then shift."),
        (lambda x, scale, shift: _divided_by_variance(x, scale, shift), "Divide by the standard deviation, the root of the variance."),
        (lambda x, scale, shift: batch_norm(x, scale, shift, x.mean((0, 2, 3)).detach(), x.var((0, 2, 3), correction=0).detach()), "The values are right, but gradients flow through mean and variance too: leave `detach` and `no_grad` out."),
    ],
)  # fmt: skip


def _divided_by_variance(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    column = (1, -1, 1, 1)
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    return scale.view(column) * (x - mean.view(column)) / (variance.view(column) + 1e-5) + shift.view(column)


Question(
    "architectures.one_image",
    text="A trained network with batch norm is asked about one single image, in evaluation mode. Whose mean is taken off?",
    choices=[
        "that of this image",
        "the running mean, gathered in training",
        "that of the last batch of the training",
        "none",
    ],
    answer="b",
    explanation="So an answer does not depend on which other images happen to be asked about at the same time.",
    wrong={
        "a": "That would be training mode with a batch of one: the answer would depend on the company.",
        "c": "Close: but one batch is a noisy sample, so a running mean over many is kept.",
        "d": "The weights have learned to expect normalised channels.",
    },
)


def dropout(x: Tensor, keep: Tensor, p: float) -> Tensor:
    """x where `keep` is 1, else 0; what is kept grows by 1 / (1 - p), so that the mean stays (inverted dropout)."""
    return x * keep / (1 - p)


class Dropout(nn.Module):
    """Any shape to the same: in training each value is dropped with probability p < 1; in evaluation nothing happens.

    Srivastava et al. 2014, who shrank the weights at the end instead of enlarging what is kept.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, torch.empty_like(x).bernoulli_(1 - self.p), self.p) if self.training else x


Exercise(
    "architectures.dropout",
    reference=dropout,
    inputs=lambda: (torch.randn(4, 6, requires_grad=True), (torch.rand(4, 6) < 0.6).float(), 0.2 + 0.2 * float(torch.rand(()))),
    wrong=[
        (lambda x, keep, p: x * keep, "What is kept must grow, or the mean is smaller in training than in evaluation."),
        (lambda x, keep, p: x * keep / p, "Divide by the share that is kept, 1 - p."),
        (lambda x, keep, p: x * keep * (1 - p), "The other way round: what is kept must grow."),
        (lambda x, keep, p: x * (1 - keep) / (1 - p), "You drop what should be kept."),
        (lambda x, keep, p: x * keep / keep.mean(), "Divide by 1 - p, not by the share that happened to be kept."),
        (lambda x, keep, p: x[keep.bool()] / (1 - p), "What is dropped becomes 0; it does not vanish."),
        (lambda x, keep, p: x * keep + p, "The mean is mended by dividing, not by adding."),
        (lambda x, keep, p: x / (1 - p), "Nothing is dropped: multiply by `keep`."),
    ],
)  # fmt: skip


def shift(image: Tensor, down: int, right: int) -> Tensor:
    """(1, H, W) moved down and right by whole pixels (negative: up, left); what comes in at the edge is paper, 0."""
    height, width = image.shape[-2:]
    room = max(abs(down), abs(right))
    padded = F.pad(image, (room, room, room, room))
    return padded[:, room - down : room - down + height, room - right : room - right + width]


def _some_pixels() -> int:
    """From 1 to 3 pixels, either way."""
    return _whole(1, 3) * (2 * _whole(0, 1) - 1)


def _moved() -> tuple[Tensor, int, int]:
    """Down and right by different lengths; in two of three draws one of them is 0, where `[:-0]` is empty."""
    down, right, still = _some_pixels(), _some_pixels(), _whole(0, 2)
    while abs(right) == abs(down):
        right = _some_pixels()
    return torch.rand(1, 7, 9) + 0.1, 0 if still == 1 else down, 0 if still == 2 else right


Exercise(
    "architectures.shift",
    reference=shift,
    inputs=_moved,
    wrong=[
        (lambda image, down, right: torch.roll(image, (down, right), (1, 2)), "What leaves on one side comes in on the other: fill with 0 instead."),
        (lambda image, down, right: shift(image, -down, -right), "It moves the other way: down is towards larger rows."),
        (lambda image, down, right: shift(image, right, down), "Down goes along the rows, right along the columns: you swapped them."),
        (lambda image, down, right: shift(image, down, 0), "It only moves down or up."),
        (lambda image, down, right: shift(image, 0, right), "It only moves right or left."),
        (lambda image, down, right: image, "Nothing moves."),
        (lambda image, down, right: F.pad(image, (right, -right, down, -down), value=1.0), "Fill with 0, the paper; 1 is ink."),
        (lambda image, down, right: F.pad(image, (abs(right),) * 2 + (abs(down),) * 2), "The image got larger: cut it back to its size."),
    ],
)  # fmt: skip

Question(
    "architectures.overfitting",
    text="Loss on the training images falls towards 0. Loss on the validation images falls, then rises, while their "
    "accuracy stays where it is. What happens?",
    choices=[
        "the rate is too high",
        "the network grows too sure of its mistakes",
        "the network is too small",
        "the validation images are broken",
    ],
    answer="b",
    explanation="Cross-entropy punishes a sure mistake more and more. Accuracy only asks which score is highest.",
    wrong={
        "a": "Then the training loss would not fall so smoothly.",
        "c": "A network that is too small cannot bring the training loss to 0.",
    },
)
