"""Drawn lung nodules in CT, benign and malignant, and what can be measured of any: size and density."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from mrctlib.runtime import InputError, derive_seed

NODULE_KINDS = ("benign", "malignant")
SIZE = 56  # pixels, as in Chuquicusma et al. 2018
PIXEL_MM = 0.7
LUNG_WINDOW = (-1000.0, 400.0)  # HU, from black (-1) to white (1)
SOLID_HU = -400.0  # halfway between lung and soft tissue: where a nodule ends when it is measured
TOGETHER = 50  # images drawn at once: few enough to stay in a processor's cache


def draw_nodules(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (count, 1, 56, 56) from -1 to 1, pixels of 0.7 mm, and classes (count,): index into `NODULE_KINDS`.

    A nodule near the middle of lung tissue with vessels and noise. Benign: small, round, a sharp edge, a third of them
    calcified. Malignant: larger on average, lobed, with spicules and a soft edge. Sizes overlap, as in patients. A
    simple drawing of signs that radiologists look for (MacMahon et al. 2017), not of anybody's lung.

    Raises:
        InputError: `count` is below 1.
    """
    if count < 1:
        raise InputError(f"count is {count}: ask for at least one nodule")
    parts = [_draw(derive_seed(seed, "nodules", part)) for part in range(-(-count // TOGETHER))]
    images, classes = (torch.cat(column)[:count] for column in zip(*parts, strict=True))
    return images, classes


def scan(hu: Tensor, random: torch.Generator | None = None) -> Tensor:
    """What the scanner makes of a piece of lung in HU, (N, 1, 56, 56): blurred, with noise of 50 HU, from -1 to 1."""
    blurred = F.avg_pool2d(hu, 3, 1, 1, count_include_pad=False)
    noise = _smooth(torch.randn(len(hu), 1, 40, 40, generator=random, device=hu.device))
    return in_window(blurred + 50 * noise)


def in_window(hu: Tensor) -> Tensor:
    """HU to values from -1 to 1, black to white."""
    low, high = LUNG_WINDOW
    return ((hu - low) / (high - low) * 2 - 1).clamp(-1, 1)


def lung_hu(images: Tensor) -> Tensor:
    """Values from -1 to 1 back to HU."""
    low, high = LUNG_WINDOW
    return low + (images + 1) / 2 * (high - low)


def measure_nodules(images: Tensor) -> tuple[Tensor, Tensor]:
    """Of images (N, 1, 56, 56), drawn or made: diameter in mm, (N,), and mean density in HU, (N,).

    What is denser than -400 HU, joined to the middle, and thicker than a vessel is the nodule; its diameter is that of
    a disc of the same area. Where the middle is empty: diameter 0 and density nan.
    """
    hu = lung_hu(images[:, 0]).numpy()
    in_plane = np.ones((1, 3, 3), bool)
    solid = ndimage.binary_opening(ndimage.gaussian_filter(hu, (0, 0.7, 0.7)) > SOLID_HU, in_plane)
    joined = np.zeros((3, 3, 3), bool)
    joined[1] = True  # neighbours within an image, never across
    parts, _ = ndimage.label(solid, joined)
    middle = slice(SIZE // 2 - 5, SIZE // 2 + 5)
    nodule = np.zeros_like(solid)
    for inside, part in zip(nodule, parts, strict=True):
        found = np.bincount(part[middle, middle].ravel())
        if len(found) > 1:
            inside[:] = part == found[1:].argmax() + 1
    area = nodule.sum((1, 2))
    density = np.where(nodule, hu, 0).sum((1, 2)) / np.where(area, area, np.nan)
    diameter = 2 * np.sqrt(area / math.pi) * PIXEL_MM
    return torch.from_numpy(diameter).float(), torch.from_numpy(density).float()


# ---------------------------------------------------------------------------------------------------- drawing

# Everything below is (N, 1, 56, 56), or (N, parts, 56, 56) for several vessels or spicules; lengths in mm.
_AXIS = (torch.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
_ROWS, _COLUMNS = _AXIS[:, None], _AXIS[None, :]


def _draw(seed: int) -> tuple[Tensor, Tensor]:
    """`TOGETHER` images and classes, from one seed."""
    draw = _Draw(seed)
    classes = (draw(0, 1) < 0.5).long()
    hu = -850 + 25 * draw.texture(14)
    hu = torch.lerp(hu, torch.full_like(hu, -200), _vessels(draw))
    share, density = _nodule(draw, classes == 1)
    return scan(torch.lerp(hu, density, share), draw.generator), classes.flatten()


class _Draw:
    """Random numbers for `TOGETHER` images."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, low: float, high: float, parts: int = 1) -> Tensor:
        """Uniform from low to high, (N, parts, 1, 1)."""
        return low + (high - low) * torch.rand(TOGETHER, parts, 1, 1, generator=self.generator)

    def texture(self, grid: int) -> Tensor:
        """Random fields of mean 0 and width near 1, (N, 1, 56, 56), as smooth as `grid` values across can be."""
        return _smooth(torch.randn(TOGETHER, 1, grid, grid, generator=self.generator))


def _smooth(coarse: Tensor) -> Tensor:
    return F.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic")


def _inside(depth: Tensor, edge: Tensor | float) -> Tensor:
    """Share of a pixel that lies inside, from its depth below a border: a ramp over `edge`, half at the border."""
    return (0.5 + depth / edge).clamp(0, 1)


def _along_and_across(angle: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates along a direction and across it, from the point (row, column)."""
    down, right = _ROWS - row, _COLUMNS - column
    return down * angle.sin() + right * angle.cos(), down * angle.cos() - right * angle.sin()


def _vessels(draw: _Draw) -> Tensor:
    """Share of blood vessel in each pixel: some run through the slice, slightly bent; some pass it end on."""
    half = SIZE * PIXEL_MM / 2
    angle, row, column = draw(0, math.pi, 2), draw(-half, half, 2), draw(-half, half, 2)
    along, across = _along_and_across(angle, row, column)
    bent = across + draw(-0.012, 0.012, 2) * along**2
    running = _inside(draw(0.3, 1.1, 2) - bent.abs(), 1.0) * _inside(draw(6, 20, 2) - along.abs(), 6.0)
    away = torch.hypot(_ROWS - draw(-half, half, 3), _COLUMNS - draw(-half, half, 3))
    end_on = _inside(draw(0.3, 1.4, 3) - away, 1.0)
    return torch.cat([running, end_on], 1).amax(1, keepdim=True)


def _nodule(draw: _Draw, malignant: Tensor) -> tuple[Tensor, Tensor]:
    """Share of nodule in each pixel, and its density in HU; malignant is (N, 1, 1, 1)."""

    def kind(of_benign: Tensor | float, of_malignant: Tensor | float) -> Tensor:
        return torch.where(malignant, torch.as_tensor(of_malignant), torch.as_tensor(of_benign))

    row, column = draw(-1.5, 1.5), draw(-1.5, 1.5)
    away = torch.hypot(_ROWS - row, _COLUMNS - column)
    angle = torch.atan2(_ROWS - row, _COLUMNS - column)
    waves = sum(torch.cos(n * angle + draw(0, 2 * math.pi)) / n for n in (2, 3, 4, 5))
    mean_radius = kind(draw(2.2, 5.5), draw(4.0, 10.0))
    radius = mean_radius * (1 + kind(0.05, draw(0.1, 0.3)) * waves)
    body = _inside(radius - away, kind(1.2, draw(1.6, 4.0)))

    rays = 6
    along, across = _along_and_across(draw(0, 2 * math.pi, rays), row, column)
    beyond = (along - mean_radius) / draw(2.0, 7.0, rays)  # 0 at the nodule's border, 1 at the spicule's tip
    spicules = _inside(1.2 * (1 - beyond) - across.abs(), 1.0) * (along > 0) * (beyond < 1)
    spicules = kind(0.0, draw(0.3, 0.9)) * spicules.amax(1, keepdim=True)

    calcified = (draw(0, 1) < 1 / 3) & ~malignant
    core = _inside(draw(0.4, 1.0) * radius - away, 2.0)
    density = kind(draw(0, 60), draw(-60, 40)) + calcified * draw(250, 500) * core
    density = density + kind(15.0, 50.0) * draw.texture(20)
    return torch.maximum(body, spicules), density
