"""The exercises of lecture 1: what a convolution and a pooling layer compute."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mrctlib.course.exercises.core import Exercise


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """A kernel (K, K) on every place of an image (H, W) where it fits, (H - K + 1, W - K + 1).

    Each pixel under the kernel times its weight, and added up: what deep learning calls a convolution.
    """
    windows = image.unfold(0, len(kernel), 1).unfold(1, len(kernel), 1)  # (H', W', K, K)
    return (windows * kernel).sum((2, 3))


def _padded(image: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(image[None, None], kernel[None, None], padding=1)[0, 0]


Exercise(
    "convolution.convolve",
    reference=convolve,
    inputs=lambda: (torch.rand(7, 6), torch.randn(3, 3)),
    wrong=[
        (lambda image, kernel: convolve(image, kernel.flip(0, 1)), "The kernel is turned by half: that is the mathematicians' convolution. Lay it on as it is."),
        (lambda image, kernel: convolve(image, kernel.T), "Rows and columns of the kernel have changed places."),
        (lambda image, kernel: convolve(image, kernel) / kernel.numel(), "Add up, do not average: dividing is the kernel's own affair."),
        (lambda image, kernel: convolve(image, kernel) / kernel.sum(), "Do not divide by the sum of the weights: that of Sobel's is 0."),
        (_padded, "This goes over the edge, where there are no pixels: only places where the whole kernel fits, so two rows and two columns fewer."),
        (lambda image, kernel: convolve(image, kernel)[::3, ::3], "The kernel jumps by its own width: move it on by one pixel."),
        (lambda image, kernel: convolve(image, kernel)[:-1, :-1], "The last place is missing: the kernel fits at H - K + 1 rows, and W - K + 1 columns."),
        (lambda image, kernel: convolve(image, torch.ones_like(kernel)), "The weights are missing: each pixel counts as much as the kernel says."),
        (lambda image, kernel: convolve(image, kernel).abs(), "Leave the sign: Sobel's answer is negative where the image gets darker."),
    ],
)  # fmt: skip


def max_pool(image: Tensor, factor: int) -> Tensor:
    """The largest value of each factor x factor square of an image (H, W), (H // factor, W // factor)."""
    rows, columns = (size // factor for size in image.shape)
    squares = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return squares.amax((1, 3))


def _average(image: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(image[None, None], factor)[0, 0]


def _one_by_one(image: Tensor, factor: int) -> Tensor:
    return F.max_pool2d(image[None, None], factor, stride=1)[0, 0]


def _wrong_axes(image: Tensor, factor: int) -> Tensor:
    rows, columns = (size // factor for size in image.shape)
    return image[: rows * factor, : columns * factor].reshape(factor, rows, factor, columns).amax((0, 2))


Exercise(
    "convolution.max_pool",
    reference=max_pool,
    inputs=lambda: (torch.randn(7, 9), 3),
    wrong=[
        (_average, "This is the mean of each square: take the largest value."),
        (lambda image, factor: image[::factor, ::factor], "This takes the first pixel of each square, a stride: look at all of them."),
        (lambda image, factor: -max_pool(-image, factor), "This is the smallest value of each square."),
        (_one_by_one, "The squares overlap: move on by `factor` pixels, not by one."),
        (_wrong_axes, "The squares are not squares: in `reshape`, each number of squares comes before `factor`: (rows, factor, columns, factor)."),
        (lambda image, factor: max_pool(image.abs(), factor), "The largest value, not the largest size: the sign counts."),
        (lambda image, factor: F.max_pool2d(image[None, None], factor, ceil_mode=True)[0, 0], "Squares that do not fit into the image are left out."),
        (lambda image, factor: F.max_pool2d(image[None, None], factor), "Right numbers in too many axes: (H, W) goes in, and two axes come out."),
    ],
)  # fmt: skip


def cut_into_patches(image: Tensor, size: int) -> Tensor:
    """The squares of size x size pixels of an image (H, W), row by row, each as a line of numbers: (patches, size * size)."""
    rows, columns = (side // size for side in image.shape)
    squares = image.reshape(rows, size, columns, size).transpose(1, 2)  # (rows, columns, size, size)
    return squares.reshape(rows * columns, size * size)


def _column_by_column(image: Tensor, size: int) -> Tensor:
    return image.unfold(0, size, size).unfold(1, size, size).transpose(0, 1).reshape(-1, size**2)


def _lying_squares(image: Tensor, size: int) -> Tensor:
    return image.unfold(0, size, size).unfold(1, size, size).transpose(2, 3).reshape(-1, size**2)


def _overlapping(image: Tensor, size: int) -> Tensor:
    return image.unfold(0, size, 1).unfold(1, size, 1).reshape(-1, size**2)


Exercise(
    "convolution.cut_into_patches",
    reference=cut_into_patches,
    inputs=lambda: (torch.randn(6, 9), 3),
    wrong=[
        (lambda image, size: image.reshape(-1, size**2), "These are stripes: nine neighbours in a row, not a square. Give `reshape` rows of squares, rows in a square, columns of squares, columns in a square, and bring the two in the middle into the right order."),
        (_column_by_column, "The squares come column by column: first all of the top row, from left to right."),
        (_lying_squares, "Within each square rows and columns have changed places."),
        (_overlapping, "The squares overlap: move on by `size` pixels, not by one."),
        (lambda image, size: cut_into_patches(image, size).reshape(-1, size, size), "Right squares: now lay each out as one line of size * size numbers."),
        (lambda image, size: cut_into_patches(image, size).T, "Lines and columns have changed places: one line for each square."),
        (lambda image, size: cut_into_patches(image, size).mean(1), "Keep all pixels of a square, not their mean."),
    ],
)  # fmt: skip
