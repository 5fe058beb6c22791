"""Diagrams of networks: boxes and arrows. Where a network is at hand, its sizes are measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from torch import Tensor

from mrctlib import plots
from mrctlib.course.networks.segmentation import UNet

Point = tuple[float, float]
RED, ORANGE, BLUE = plots.COLOURS[1], plots.COLOURS[4], plots.COLOURS[5]
CHEAP, LOOK = "#CCE5F6", "#FBE3B0"  # pale versions of the blue and the orange


def canvas(width: float, height: float, x: Point, y: Point, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """A figure without axes: inches of each column, and what its edges are called."""
    figure, axes = plots.new_figure(1, columns, width=width, height=height)
    for axis in axes[0]:
        axis.set(xlim=x, ylim=y)
        axis.set_axis_off()
    return figure, axes[0]


def box(axis: Axes, middle: Point, text: str, size: Point, colour: str = "w") -> None:
    """A box with words in it."""
    corner = [m - s / 2 for m, s in zip(middle, size, strict=True)]
    axis.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=0.06", facecolor=colour, edgecolor="0.3"))
    axis.text(*middle, text, ha="center", va="center", fontsize=14)


def arrow(axis: Axes, points: Sequence[Point], colour: str = "0.25", style: str = "-", bend: float = 0.0) -> None:
    """A line through points, with a head at the last; bend: of its last part."""
    axis.plot(*zip(*points[:-1], strict=True), style, color=colour, linewidth=2)
    axis.add_patch(FancyArrowPatch(
        *points[-2:], arrowstyle="-|>", mutation_scale=18, linewidth=2, linestyle=style, color=colour,
        connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0,
    ))  # fmt: skip


def tower(axis: Axes, x: float, top: float, bottom: float, steps: Sequence[tuple[float, str, str]]) -> None:
    """Boxes (height, words, colour) from top to bottom, with arrows from one to the next."""
    ends = [top, *(edge for y, _, _ in steps for edge in (y + 0.36, y - 0.36)), bottom]
    for start, end in zip(ends[::2], ends[1::2], strict=True):
        arrow(axis, [(x, start), (x, end)])
    for y, words, colour in steps:
        box(axis, (x, y), words, (1.8, 0.5), colour)


# ---------------------------------------------------------------------------------------------------- convolutions


def kernel_over_channels(channels: int = 3, outputs: int = 2) -> Figure:
    """One kernel is a block: as deep as the image has channels; and each output map has a kernel of its own."""
    figure, (axis,) = canvas(10.5, 4.4, (-0.4, 12.6), (-1.3, 4.6))

    def sheets(x: float, y: float, side: float, count: int, colours: Sequence[str]) -> None:
        for n in reversed(range(count)):
            at = (x + 0.3 * n, y + 0.3 * n)
            axis.add_patch(Rectangle(at, side, side, facecolor=colours[n % len(colours)], edgecolor="0.2"))

    sheets(0, 0.4, 2.4, channels, ["0.88"])
    axis.add_patch(Rectangle((0.72, 1.24), 0.7, 0.7, facecolor=ORANGE, edgecolor="0.2"))
    for number, y in enumerate(np.linspace(2.6, 0.4, outputs)):
        sheets(5.2, y, 0.7, channels, [ORANGE])
        axis.text(6.8, y + 0.6, "× and +", fontsize=14, va="center")
        arrow(axis, [(3.6, 2.0), (5.0, y + 0.6)])
        arrow(axis, [(8.3, y + 0.6), (9.3, 1.9 + 0.3 * (outputs - 1 - 2 * number))], plots.COLOURS[number])
    sheets(9.5, 0.7, 2.2, outputs, plots.COLOURS)
    kernels = f"{outputs} kernels of {channels} × 3 × 3"
    below = {1.5: f"image: {channels} × H × W", 5.9: kernels, 10.8: f"{outputs} maps: {outputs} × H' × W'"}
    for x, words in below.items():
        axis.text(x, -0.1, words, ha="center", va="top", fontsize=14)
    return figure


def inception() -> Figure:
    """The first inception module of GoogLeNet. Szegedy et al. 2015, table 1, 3a."""
    figure, (axis,) = canvas(10.5, 4.4, (-0.3, 10.3), (-0.4, 4.4))
    branches = {
        1.1: [(2.1, "1 x 1, 64", LOOK)],
        3.7: [(2.75, "1 x 1, 96", CHEAP), (1.45, "3 x 3, 128", LOOK)],
        6.3: [(2.75, "1 x 1, 16", CHEAP), (1.45, "5 x 5, 32", LOOK)],
        8.9: [(2.75, "max 3 x 3", "w"), (1.45, "1 x 1, 32", CHEAP)],
    }
    for x, steps in branches.items():
        tower(axis, x, 3.7, 0.55, steps)
    box(axis, (5, 4), "192 channels, 28 x 28", (9.8, 0.5))
    box(axis, (5, 0.2), "64 + 128 + 32 + 32 = 256 channels", (9.8, 0.5))
    return figure


def residual_blocks() -> Figure:
    """The basic and the bottleneck block of He et al. 2016, without batch normalisation and inner ReLUs."""
    figure, axes = canvas(5.2, 4.6, (-1.6, 4.2), (-0.6, 5), columns=2)
    stacks = {
        "basic (ResNet18, 34)": (["3 x 3, 64", "3 x 3, 64"], "64 channels"),
        "bottleneck (ResNet50 and deeper)": (["1 x 1, 64", "3 x 3, 64", "1 x 1, 256"], "256 channels"),
    }
    for axis, (title, (steps, top)) in zip(axes, stacks.items(), strict=True):
        axis.set_title(title)
        heights = np.linspace(3.6, 1.5, len(steps))
        coloured = [(y, words, LOOK if "3 x 3" in words else CHEAP) for y, words in zip(heights, steps, strict=True)]
        tower(axis, 0, 4.55, 0.62, coloured)
        arrow(axis, [(0, 4.3), (2.4, 4.3), (2.4, 0.35), (0.3, 0.35)], RED)
        arrow(axis, [(0, 0.1), (0, -0.5)])
        words = {(0, 4.75): top, (0, 0.35): "+", (3.2, 2.4): "x, as\nit is", (-1.4, 2.5): "$f$", (0.6, -0.25): "ReLU"}
        for at, text in words.items():
            axis.text(*at, text, ha="center", va="center", fontsize=24 if text == "+" else 15)
    return figure


def connections(layers: int = 5) -> Figure:
    """Who reads whom: a plain network, a ResNet, a DenseNet."""
    figure, axes = plots.new_figure(3, 1, width=10, height=1.9, height_ratios=(1, 1.5, 2))
    tops = {"plain": 0.3, "ResNet": 0.6, "DenseNet": 0.95}
    for axis, (kind, top) in zip(axes[:, 0], tops.items(), strict=True):
        axis.set(xlim=(-0.9, layers + 0.6), ylim=(-0.3, top))
        axis.set_axis_off()
        links = layers * (layers + 1) // 2 if kind == "DenseNet" else layers
        more = " and shortcuts that add" if kind == "ResNet" else ""
        axis.set_title(f"{kind}: {links} connections{more}", loc="left")
        for start in range(layers):
            arrow(axis, [(start + 0.17, 0), (start + 0.83, 0)])
            for end in range(start + 2, layers + 1) if kind == "DenseNet" else ():
                arrow(axis, [(start, 0.17), (end - 0.05, 0.17)], plots.COLOURS[0], bend=-0.3)
            if kind == "ResNet":
                arrow(axis, [(start, 0.17), (start + 0.95, 0.17)], RED, bend=-0.5)
        for place in range(layers + 1):
            axis.plot(place, 0, "o", markersize=28, color=LOOK, markeredgecolor="k", markeredgewidth=1.5)
            axis.text(place, 0, str(place or "x"), ha="center", va="center", fontsize=14)
    return figure


# ---------------------------------------------------------------------------------------------------- sequences


def unrolled_rnn(steps: int = 5) -> Figure:
    """A recurrent network, a box for each step: the same W and U in all of them."""
    figure, (axis,) = canvas(11, 3.6, (-2, 2 * steps - 1), (-0.7, 2.6))
    for t in range(steps):
        last = t == steps - 1
        box(axis, (2 * t, 1), "tanh", (0.6, 0.4), BLUE)
        arrow(axis, [(2 * t, -0.1), (2 * t, 0.72)])
        arrow(axis, [(2 * t - 1.6, 1), (2 * t - 0.4, 1)])
        input_, state = ("$x_T$", "...") if last else (f"$x_{{{t + 1}}}$", f"$h_{{{t}}}$")
        words = {(2 * t, -0.35): input_, (2 * t - 1, 1.3): state, (2 * t + 0.22, 0.3): "$W$", (2 * t - 1, 0.7): "$U$"}
        for at, text in words.items():
            axis.text(*at, text, ha="center", va="center", fontsize=17)
    arrow(axis, [(2 * steps - 2, 1.3), (2 * steps - 2, 2.1)])
    axis.text(2 * steps - 2, 2.3, "answer", ha="center", va="center", fontsize=16)
    return figure


def lstm_cell() -> Figure:
    """One step of an LSTM: the cell above, where it is only multiplied and added to; the gates below."""
    figure, (axis,) = canvas(11, 4.6, (-1.4, 11.3), (-0.4, 4.5))
    for start, end in ((0, 1.7), (2.3, 4.9), (5.5, 10.6)):
        arrow(axis, [(start, 4), (end, 4)], RED)
    for x, name in {2.0: "forget\nσ", 3.9: "input\nσ", 5.8: "new\ntanh", 7.7: "output\nσ"}.items():
        box(axis, (x, 1.2), name, (1.2, 0.9), BLUE if "new" in name else ORANGE)
        arrow(axis, [(0, 0), (x, 0), (x, 0.65)])
    for at, sign in {(2.0, 4): "×", (5.2, 4): "+", (5.2, 2.7): "×", (9.0, 2.7): "×"}.items():
        box(axis, at, sign, (0.36, 0.36))
    box(axis, (9.0, 3.4), "tanh", (0.7, 0.3))
    for points in (
        [(2.0, 1.75), (2.0, 3.7)], [(3.9, 1.75), (3.9, 2.7), (4.9, 2.7)],
        [(5.8, 1.75), (5.8, 2.2), (5.2, 2.2), (5.2, 2.42)], [(5.2, 2.98), (5.2, 3.7)],
        [(7.7, 1.75), (7.7, 2.7), (8.7, 2.7)], [(9.0, 4), (9.0, 3.62)],
        [(9.0, 3.18), (9.0, 2.98)], [(9.3, 2.7), (10.6, 2.7)],
    ):  # fmt: skip
        arrow(axis, points)
    ends = {(-0.35, 4): "$c_{t-1}$", (10.95, 4): "$c_t$", (10.95, 2.7): "$h_t$", (-0.75, 0): "$h_{t-1}, x_t$"}
    for at, text in (ends | {(2.5, 3.1): "keep", (4.3, 3.05): "write", (8.1, 3.05): "show"}).items():
        axis.text(*at, text, ha="center", va="center", fontsize=17 if at in ends else 14)
    return figure


# ---------------------------------------------------------------------------------------------------- a U-Net


@torch.no_grad()
def unet(network: UNet, image: Tensor) -> Figure:
    """The U as it is: what every stage hands on of an image (1, C, H, W), a bar as high as the map, and its sizes."""
    depth = len(network.down)
    # From the top left down and up to the top right, each stage with its level; level 0 is the finest.
    stages = [(network.first, 0), *((part, n + 1) for n, part in enumerate(network.down))]
    stages += [(part, n) for n, part in reversed(list(enumerate(network.merge)))] + [(network.last, 0)]
    sizes: list[tuple[int, ...]] = [tuple(image.shape[1:])]
    hooks = [part.register_forward_hook(lambda _, __, made: sizes.append(tuple(made.shape[1:]))) for part, _ in stages]
    network.eval()(image)
    for hook in hooks:
        hook.remove()

    places = [(-1.2, 0), *((float(n), level) for n, (_, level) in enumerate(stages[:-1])), (2 * depth + 1.2, 0)]
    figure, (axis,) = canvas(11.5, 1.6 * (depth + 1), (-1.8, 2 * depth + 1.8), (-depth - 0.6, 0.6))
    for (x, level), (channels, height, width) in zip(places, sizes, strict=True):
        tall = 0.9 * height / image.shape[2]
        axis.add_patch(Rectangle((x - 0.11, -level - tall / 2), 0.22, tall, facecolor=plots.COLOURS[0]))
        words, side = f"{channels} × {height} × {width}", np.sign(x - depth) if 0 < level < depth else 0
        if side:  # beside the bar, or arrows would cross the words
            axis.text(x + 0.17 * side, -level, words, ha="left" if side > 0 else "right", va="center", fontsize=12)
        else:
            axis.text(x, -level - tall / 2 - 0.06, words, ha="center", va="top", fontsize=12)
    down, up, skip = (
        "halve (max pooling), convolve twice",
        "double (transposed convolution), join, convolve twice",
        "skip",
    )
    looks = {"convolutions": (RED, "-"), down: ("0.4", "-"), up: (plots.COLOURS[2], "-"), skip: (ORANGE, "--")}
    for (x, level), (to_x, to_level) in zip(places[:-1], places[1:], strict=True):
        kind = "convolutions" if level == to_level else down if level < to_level else up
        off = 0.0 if level == to_level else -0.2 if level < to_level else 0.2
        arrow(axis, [(x + 0.2, -level + off), (to_x - 0.2, -to_level - off)], *looks[kind])
    for level in range(depth) if network.skips else ():
        arrow(axis, [(level + 0.2, -level), (2 * depth - level - 0.2, -level)], *looks[skip])
    lines = [axis.plot([], [], style, color=colour, label=kind)[0] for kind, (colour, style) in looks.items()]
    figure.legend(handles=lines, loc="outside lower center", ncol=2)
    return figure
