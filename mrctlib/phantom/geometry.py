"""Shapes in millimetres, on any grid: a space, a place in the average head, its parts, a brush that fills voxels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FIELD_OF_VIEW_MM = (256.0, 256.0, 192.0)
Box = tuple[slice, slice, slice]


class Space:
    """Voxel centres of a grid in mm (x right, y front, z up; the origin in the middle of the brain)."""

    def __init__(self, shape: Sequence[int], field_of_view_mm: Sequence[float] = FIELD_OF_VIEW_MM) -> None:
        self.shape = tuple(shape)
        self.spacing = tuple(f / n for f, n in zip(field_of_view_mm, shape, strict=True))
        self.axes = [
            (torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * s
            for n, s in zip(self.shape, self.spacing, strict=True)
        ]
        self.x, self.y, self.z = self.axes[0][:, None, None], self.axes[1][None, :, None], self.axes[2][None, None, :]

    @property
    def affine(self) -> np.ndarray:
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = [float(axis[0]) for axis in self.axes]
        return affine

    def smooth_noise(self, generator: torch.Generator, wavelength_mm: float, waves: int = 24) -> Tensor:
        """A smooth random field, mean 0 and standard deviation 1: a sum of plane waves with random directions.

        A plane wave is a product of three one-dimensional waves, so the whole sum is two matrix products; and it is a
        function of millimetres, so the same seed gives the same field on every grid.
        """
        directions = torch.randn(waves, 3, generator=generator)
        lengths = wavelength_mm * (0.75 + 0.5 * torch.rand(waves, 1, generator=generator))
        k = 2 * math.pi * directions / directions.norm(dim=1, keepdim=True) / lengths
        phase = 2 * math.pi * torch.rand(waves, generator=generator)
        ex, ey, ez = (torch.exp(1j * k[:, i, None] * axis) for i, axis in enumerate(self.axes))
        xy = (ex[:, :, None] * ey[:, None, :] * torch.exp(1j * phase)[:, None, None]).flatten(1)  # (waves, nx * ny)
        real = xy.real.T @ ez.real - xy.imag.T @ ez.imag
        return real.reshape(self.shape) * math.sqrt(2 / waves)


@dataclass(frozen=True)
class Part:
    """A shape, and the box of the grid outside of which nothing of it lies: signed distance in mm, negative inside."""

    box: Box
    distance: Tensor

    def grown(self, by_mm: float | Tensor) -> Part:
        """Larger by so many mm everywhere (a number), or by the values of a field on the whole grid."""
        return Part(self.box, self.distance - (by_mm[self.box] if isinstance(by_mm, Tensor) else by_mm))

    def within(self, limit: Tensor) -> Part:
        """Only what also lies inside `limit`, a distance on the whole grid."""
        return Part(self.box, torch.maximum(self.distance, limit[self.box]))


Shape = Tensor | Part | Sequence["Shape"]


def parts_of(shape: Shape) -> Iterator[Part]:
    """The parts that a shape is made of; a distance on the whole grid is one part."""
    if isinstance(shape, Part):
        yield shape
    elif isinstance(shape, Tensor):
        yield Part((slice(None),) * 3, shape)
    else:
        for one in shape:
            yield from parts_of(one)


class Place:
    """Where each voxel lies in the average head: three (R, A, S) fields of mm, and shapes measured in them."""

    FAR = 60.0  # mm: the distance given to voxels that are surely outside a shape's neighbourhood

    def __init__(self, x: Tensor, y: Tensor, z: Tensor) -> None:
        self.x, self.y, self.z = x, y, z
        others = ((1, 2), (0, 2), (0, 1))
        self._slabs = [(a.amin(o).numpy(), a.amax(o).numpy()) for a, o in zip((x, y, z), others, strict=True)]

    @cached_property
    def pairs(self) -> Place:
        """The same place with |x| for x: what is drawn there comes twice, left and right."""
        return Place(self.x.abs(), self.y, self.z)

    def box(self, low: Sequence[float], high: Sequence[float]) -> Box:
        """The voxels that may lie between two corners (mm)."""
        return tuple(self._span(axis, low[axis], high[axis]) for axis in range(3))

    def ellipsoid(self, centre: Sequence[float], radii: Sequence[float], tilt: float = 0.0, reach: float = 8.0) -> Part:
        """An ellipsoid, tilted by `tilt` radians about the x axis, known up to `reach` mm outside of it.

        Its distance is the first-order estimate k0 (k0 - 1) / k1, with k0 = |q / r| and k1 = |q / r^2|: exact on the
        surface.
        """
        extent = [r + reach for r in (radii if not tilt else (radii[0], max(radii[1:]), max(radii[1:])))]
        pairs = list(zip(centre, extent, strict=True))
        box = self.box([c - e for c, e in pairs], [c + e for c, e in pairs])
        x, y, z = self.x[box] - centre[0], self.y[box] - centre[1], self.z[box] - centre[2]
        if tilt:
            y, z = math.cos(tilt) * y + math.sin(tilt) * z, math.cos(tilt) * z - math.sin(tilt) * y
        x2, y2, z2 = ((a / r).square_() for a, r in zip((x, y, z), radii, strict=True))
        k0 = (x2 + y2 + z2).sqrt_()
        k1 = (x2 / radii[0] ** 2 + y2 / radii[1] ** 2 + z2 / radii[2] ** 2).sqrt_().clamp_(min=1e-6)
        return Part(box, (k0 * (k0 - 1) / k1).clamp_(max=self.FAR))

    def tube(self, points: Sequence[Sequence[float]], radii: float | Sequence[float], reach: float = 4.0) -> list[Part]:
        """A tube through `points` (mm); its radius goes linearly from one of `radii` to the next; one part a piece."""
        sizes = list(radii) if isinstance(radii, Sequence) else [radii] * len(points)
        pieces = []
        for a, b, ra, rb in zip(points[:-1], points[1:], sizes[:-1], sizes[1:], strict=True):
            margin = max(ra, rb) + reach
            box = self.box(
                [min(p, q) - margin for p, q in zip(a, b, strict=True)],
                [max(p, q) + margin for p, q in zip(a, b, strict=True)],
            )
            along = [q - p for p, q in zip(a, b, strict=True)]
            x, y, z = self.x[box] - a[0], self.y[box] - a[1], self.z[box] - a[2]
            at = (x * along[0] + y * along[1] + z * along[2]) / sum(c * c for c in along)
            at.clamp_(0, 1)
            off = (x - at * along[0]).square_() + (y - at * along[1]).square_() + (z - at * along[2]).square_()
            pieces.append(Part(box, off.sqrt_() - (ra + (rb - ra) * at)))
        return pieces

    def whole(self, part: Part) -> Tensor:
        """The distance on the whole grid, FAR where the part does not know it."""
        distance = torch.full_like(self.x, self.FAR)
        distance[part.box] = part.distance
        return distance

    def _span(self, axis: int, low: float, high: float) -> slice:
        least, most = self._slabs[axis]
        near = np.flatnonzero((most >= low) & (least <= high))
        return slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 0)


def union(*distances: Tensor) -> Tensor:
    result = distances[0]
    for distance in distances[1:]:
        result = torch.minimum(result, distance)
    return result


def smooth_union(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """Union with a fillet of `radius` mm where the two meet (polynomial smooth minimum)."""
    h = (0.5 + 0.5 * (b - a) / radius).clamp_(0, 1)
    return torch.lerp(b, a, h) - radius * h * (1 - h)


class Brush:
    """Paints front to back: a new structure only gets what is still uncovered of each voxel."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.edge = sum(space.spacing) / 3  # the share of a voxel inside grows over about one voxel's width
        self.fractions: dict[str, Tensor] = {}
        self.remaining = torch.ones(space.shape)

    def paint(self, tissue: str, *shapes: Shape) -> None:
        """Give `tissue` what the shapes cover and nothing has yet."""
        if tissue not in self.fractions:
            self.fractions[tissue] = torch.zeros(self.space.shape)
        for part in parts_of(shapes):
            share = (part.distance / -self.edge).add_(0.5).clamp_(0, 1).mul_(self.remaining[part.box])
            self.remaining[part.box] -= share
            self.fractions[tissue][part.box] += share


def sampled(fields: Tensor, of: Space, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Fields (C, R, A, S) on a space, looked up linearly at N points (mm), (C, N); past the border its last value."""
    at = [c / (s * (n - 1) / 2) for c, s, n in zip((z, y, x), of.spacing[::-1], of.shape[::-1], strict=True)]
    points = torch.stack(at, -1)[None, None, None]
    return F.grid_sample(fields[None], points, padding_mode="border", align_corners=True)[0, :, 0, 0]
