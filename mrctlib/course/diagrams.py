"""Diagrams of networks: boxes and arrows, with sizes that are measured, not typed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from mrctlib import plots
from mrctlib.course.networks.segmentation import UNet

Point = tuple[float, float]


def canvas(width: float, height: float, x: Point, y: Point) -> tuple[Figure, Axes]:
    """A figure without axes, of so many inches, and what its edges are called."""
    figure, axes = plots.new_figure(1, 1, width=width, height=height)
    axes[0, 0].set(xlim=x, ylim=y)
    axes[0, 0].set_axis_off()
    return figure, axes[0, 0]


def box(axis: Axes, middle: Point, text: str, size: Point = (1.0, 0.6), colour: str = "0.9") -> None:
    """A rounded box with words in it."""
    corner = [m - s / 2 for m, s in zip(middle, size, strict=True)]
    axis.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=0.06", facecolor=colour, edgecolor="0.3"))
    axis.text(*middle, text, ha="center", va="center", fontsize=14)


def arrow(axis: Axes, points: Sequence[Point], colour: str = "0.25", style: str = "-") -> None:
    """A line through points, with a head at the last."""
    axis.plot(*zip(*points, strict=True), style, color=colour, linewidth=2)
    axis.annotate(
        "",
        points[-1],
        points[-2],
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2, "linestyle": style},
    )


def lstm_cell() -> Figure:
    """One step of an LSTM: the cell above, where it is only multiplied and added to; the gates below."""
    figure, axis = canvas(11, 4.6, (-1.4, 11.3), (-0.4, 4.5))
    orange, blue = plots.COLOURS[4], plots.COLOURS[5]
    arrow(axis, [(0, 4), (1.7, 4)], plots.COLOURS[1])
    arrow(axis, [(2.3, 4), (4.9, 4)], plots.COLOURS[1])
    arrow(axis, [(5.5, 4), (10.6, 4)], plots.COLOURS[1])
    places = {"forget": 2.0, "input": 3.9, "new": 5.8, "output": 7.7}
    for name, x in places.items():
        box(
            axis, (x, 1.2), f"{name}\n{'tanh' if name == 'new' else 'σ'}", (1.2, 0.9), blue if name == "new" else orange
        )
        arrow(axis, [(x, 0), (x, 0.65)])
    axis.plot([0, 7.7], [0, 0], color="0.25", linewidth=2)
    for at, sign in {(2.0, 4): "×", (5.2, 4): "+", (5.2, 2.7): "×", (9.0, 2.7): "×"}.items():
        box(axis, at, sign, (0.36, 0.36), "white")
    arrow(axis, [(2.0, 1.75), (2.0, 3.7)])
    arrow(axis, [(3.9, 1.75), (3.9, 2.7), (4.9, 2.7)])
    arrow(axis, [(5.8, 1.75), (5.8, 2.2), (5.2, 2.2), (5.2, 2.42)])
    arrow(axis, [(5.2, 2.98), (5.2, 3.7)])
    arrow(axis, [(7.7, 1.75), (7.7, 2.7), (8.7, 2.7)])
    box(axis, (9.0, 3.4), "tanh", (0.7, 0.3), "white")
    arrow(axis, [(9.0, 4), (9.0, 3.62)])
    arrow(axis, [(9.0, 3.18), (9.0, 2.98)])
    arrow(axis, [(9.3, 2.7), (10.6, 2.7)])
    for at, text in {
        (-0.35, 4): "$c_{t-1}$",
        (10.95, 4): "$c_t$",
        (10.95, 2.7): "$h_t$",
        (-0.75, 0): "$h_{t-1}, x_t$",
    }.items():
        axis.text(*at, text, ha="center", va="center", fontsize=17)
    for at, text in {(2.15, 3.0): "keep", (4.0, 2.95): "write", (7.8, 2.95): "show"}.items():
        axis.text(*at, text, fontsize=14, color="0.3")
    return figure


@torch.no_grad()
def unet(network: UNet, image: Tensor) -> Figure:
    """The U as it is: what every stage hands on of an image (1, C, H, W), a bar as high as the map, and its sizes."""
    sizes: dict[str, tuple[int, int, int]] = {}
    stages = {"first": network.first, "last": network.last}
    stages |= {f"down{n}": part for n, part in enumerate(network.down)}
    stages |= {f"merge{n}": part for n, part in enumerate(network.merge)}
    hooks = [
        part.register_forward_hook(lambda _, __, made, name=name: sizes.update({name: tuple(made.shape[1:])}))
        for name, part in stages.items()
    ]
    network.eval()(image)
    for hook in hooks:
        hook.remove()
    depth = len(network.down)
    figure, axis = canvas(11.5, 1.6 * (depth + 1), (-1.8, 2 * depth + 1.8), (-depth - 0.6, 0.6))
    left = ["first", *(f"down{n}" for n in range(depth))]  # level 0 is the finest; the last is the bottom of the U
    right = [f"merge{n}" for n in range(depth)]
    tall = image.shape[2] / 0.9

    def stage(name: str, x: float, level: int, words: str = "") -> None:
        channels, height, width = sizes.get(name, tuple(image.shape[1:]))
        axis.add_patch(
            Rectangle((x - 0.11, -level - height / tall / 2), 0.22, height / tall, facecolor=plots.COLOURS[0])
        )
        below = level + height / tall / 2 + 0.06
        axis.text(
            x,
            -below,
            f"{words}{channels} × {height} × {width}",
            ha="center",
            va="top",
            fontsize=12,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )

    stage("image", -1.2, 0)
    arrow(axis, [(-1.0, 0), (-0.2, 0)], plots.COLOURS[1])
    for level, name in enumerate(left):
        stage(name, level, level)
        if level:
            arrow(axis, [(level - 1 + 0.2, -level + 0.75), (level - 0.2, -level + 0.15)], "0.4")
    for level, name in enumerate(right):
        at = 2 * depth - level
        stage(name, at, level)
        arrow(axis, [(at - 1 + 0.2, -level - 0.75), (at - 0.2, -level - 0.2)], plots.COLOURS[2])
        if network.skips:
            arrow(axis, [(level + 0.2, -level), (at - 0.2, -level)], plots.COLOURS[4], "--")
    stage("last", 2 * depth + 1.2, 0)
    arrow(axis, [(2 * depth + 0.2, 0), (2 * depth + 1.0, 0)], plots.COLOURS[1])
    named = {
        "convolutions": plots.COLOURS[1], "halve (max pooling), convolve twice": "0.4",
        "double (transposed convolution), join, convolve twice": plots.COLOURS[2], "skip": plots.COLOURS[4],
    }  # fmt: skip
    lines = [axis.plot([], [], "--" if n == "skip" else "-", color=colour, label=n)[0] for n, colour in named.items()]
    figure.legend(handles=lines, loc="outside lower center", ncol=2)
    return figure


def kernel_over_channels(channels: int = 3, outputs: int = 2) -> Figure:
    """One kernel is a block: as deep as the image has channels; and each output map has a kernel of its own."""
    figure, axis = canvas(10.5, 4.4, (-0.4, 12.6), (-1.3, 4.6))

    def sheets(x: float, y: float, side: float, count: int, colour: str, marked: float = 0.0) -> None:
        for n in reversed(range(count)):
            at = (x + 0.3 * n, y + 0.3 * n)
            axis.add_patch(Rectangle(at, side, side, facecolor=colour, edgecolor="0.2"))
            if marked:
                spot = (at[0] + 0.3 * side, at[1] + 0.35 * side)
                axis.add_patch(Rectangle(spot, marked, marked, facecolor=plots.COLOURS[4], edgecolor="0.2"))

    sheets(0, 0.4, 2.4, channels, "0.88", 0.7)
    axis.text(1.5, -0.1, f"image: {channels} × H × W", ha="center", va="top", fontsize=14)
    for number, (y, colour) in enumerate(zip(np.linspace(2.6, 0.4, outputs), plots.COLOURS, strict=False)):
        sheets(5.2, y, 0.7, channels, plots.COLOURS[4])
        axis.text(6.8, y + 0.6, "× and +", fontsize=14, va="center")
        arrow(axis, [(3.6, 2.0), (5.0, y + 0.6)])
        arrow(axis, [(8.3, y + 0.6), (9.3, 1.9 + 0.3 * (outputs - 1 - 2 * number))], colour)
    axis.text(5.9, -0.1, f"{outputs} kernels of {channels} × 3 × 3", ha="center", va="top", fontsize=14)
    for n in reversed(range(outputs)):
        at = (9.5 + 0.3 * n, 0.7 + 0.3 * n)
        axis.add_patch(Rectangle(at, 2.2, 2.2, facecolor=plots.COLOURS[n], edgecolor="0.2", alpha=0.9))
    axis.text(10.8, -0.1, f"{outputs} maps: {outputs} × H' × W'", ha="center", va="top", fontsize=14)
    return figure
