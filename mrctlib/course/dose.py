"""What radiotherapy asks of a synthetic CT: does a beam planned on it go as far, and give as much, as on the real one?

A beam does not see HU. It sees how many electrons stand in its way (photons) and how strongly they slow it down
(protons), added up from the skin to the target. So HU become a density relative to water by a calibration curve, the
density is summed along straight rays to a depth in mm of water, and two questions are put to that depth: how many mm
too short or too far a proton beam would stop (`range_error`), and how many percent the dose of a photon beam is off
(`dose_difference`). A sum forgives noise, which cancels but for the bends of the curve, and punishes whatever leans
one way or stands in the beam: a mean absolute error in HU cannot tell these apart.

Images are slices (X, Y) or volumes (X, Y, Z) on one grid, `spacing` is in mm, one number for each axis. A beam runs
in the plane of axes 0 and 1 and stays in its slice; its angle, in degrees, turns from +axis 0 (0) to +axis 1 (90).
`mask` is true in the body; outside it everything is taken for air, so the couch never counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.integrate import cumulative_trapezoid

from mrctlib.runtime import InputError

# ------------------------------------------------------------------------------------------ from HU to what beams see


@dataclass(frozen=True)
class Tissue:
    """A knot of the calibration curves: HU, density in g/cm3, electrons per unit of atomic mass, mean excitation in eV.

    `relative_electron_density` and `relative_stopping_power` are those of this tissue over those of water.
    """

    hu: float
    density: float
    z_over_a: float
    excitation: float

    @property
    def relative_electron_density(self) -> float:
        return self.density * self.z_over_a / (WATER.density * WATER.z_over_a)

    @property
    def relative_stopping_power(self) -> float:
        """By the formula of Bethe, without shell and density corrections, as Schneider et al. 1996 use it."""
        return self.relative_electron_density * _stopping_number(self.excitation) / _stopping_number(WATER.excitation)


def _stopping_number(excitation: float) -> float:
    """Bethe's logarithm for a proton of 150 MeV in a medium of that mean excitation energy (eV).

    Between 70 and 250 MeV the ratio of two media changes by under 1%, so one energy does for all.
    """
    energy, proton, electron = 150.0, 938.272, 0.510999  # kinetic energy and rest energies, MeV
    beta2 = 1 - (proton / (proton + energy)) ** 2
    return math.log(2 * electron * 1e6 * beta2 / (excitation * (1 - beta2))) - beta2


WATER = Tissue(0, 1.0, 0.55508, 75.0)

# Z/A, excitation energies, and the densities of air, adipose, muscle and bone: ICRU report 44 (1989), as in table 2 of
# Hubbell and Seltzer, NISTIR 5632. The HU at which a tissue has its density (120 kV), and the density of lung at
# -500 HU: the density curve of Schneider, Bortfeld and Schlegel 2000, Phys Med Biol 45, 459. The last knot is where
# the Monte Carlo program TOPAS ends that curve. Water stands at 0 HU by definition.
TISSUES = {
    "air": Tissue(-1000, 0.001205, 0.49919, 85.7),
    "lung": Tissue(-500, 0.516, 0.55048, 75.2),
    "adipose": Tissue(-76, 0.95, 0.55579, 64.8),
    "water": WATER,
    "muscle": Tissue(40, 1.05, 0.55000, 74.6),
    "cortical bone": Tissue(1525, 1.92, 0.51478, 112.0),
    "densest bone": Tissue(2995, 2.70, 0.51478, 112.0),
}
AIR_HU = TISSUES["air"].hu

# Attenuation of water for photons of 2 MeV, for each mm: table 4 of NISTIR 5632 (0.04942 cm2/g). A beam of 6 MV holds
# all energies up to 6 MeV; that it acts like its mean, a third of that, is a rule of thumb.
ATTENUATION = 0.004942


def relative_electron_density(hu: np.ndarray) -> np.ndarray:
    """Electrons in a volume over those in as much water, for HU of any shape; 1 at 0 HU, 0.001 in air.

    Straight lines between `TISSUES`, constant beyond -1000 and 2995 HU. Metal is not on this curve. Every scanner has
    its own: a clinic measures it on a phantom, and from one to the next bone differs by some percent.
    """
    return _curve(hu, [tissue.relative_electron_density for tissue in TISSUES.values()])


def relative_stopping_power(hu: np.ndarray) -> np.ndarray:
    """How fast protons lose energy, over how fast they do in water, for HU of any shape; 1 at 0 HU, 0.001 in air.

    The same curve as `relative_electron_density`, but a little higher in fat and lower in bone, whose inner electrons
    are hard to move.
    """
    return _curve(hu, [tissue.relative_stopping_power for tissue in TISSUES.values()])


def _curve(hu: np.ndarray, heights: list[float]) -> np.ndarray:
    return np.interp(np.asarray(hu, np.float64), [tissue.hu for tissue in TISSUES.values()], heights)


# --------------------------------------------------------------------------------------------------- along the beam


class Beam:
    """Parallel rays through a slice: a square grid of points, (steps along the beam, rays side by side).

    Points lie half a voxel apart (of the shorter side) and cover the slice whichever way the beam runs. On this grid
    everything along a beam is an operation along axis 0.
    """

    def __init__(self, shape: Sequence[int], spacing: Sequence[float], angle: float) -> None:
        self.step = min(spacing[:2]) / 2
        centre = [(length - 1) / 2 for length in shape]
        reach = math.hypot(*((length + 1) / 2 * size for length, size in zip(shape[:2], spacing[:2], strict=True)))
        ends = math.ceil(reach / self.step)
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))

        line = np.arange(-ends, ends + 1) * self.step  # mm from the centre of the slice
        along, across = np.meshgrid(line, line, indexing="ij")
        self._points = (
            (along * cos - across * sin) / spacing[0] + centre[0],
            (along * sin + across * cos) / spacing[1] + centre[1],
        )
        x, y = np.meshgrid(*((np.arange(shape[i]) - centre[i]) * spacing[i] for i in (0, 1)), indexing="ij")
        self._voxels = (x * cos + y * sin) / self.step + ends, (y * cos - x * sin) / self.step + ends

    def gather(self, plane: np.ndarray) -> np.ndarray:
        """A slice (X, Y) seen by the rays, (steps, rays): linear in between, 0 outside the slice."""
        return ndimage.map_coordinates(plane.astype(np.float64), self._points, order=1, mode="grid-constant")

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """The way back: values at the points, (steps, rays), at the voxels of the slice, (X, Y)."""
        return ndimage.map_coordinates(values, self._voxels, order=1)

    def depth(self, density: np.ndarray) -> np.ndarray:
        """What each ray has passed when it is at a point, (steps, rays), mm of water, from density (X, Y)."""
        return cumulative_trapezoid(self.gather(density), dx=self.step, axis=0, initial=0)

    def inside(self, target: np.ndarray) -> np.ndarray:
        """Whether a point lies in the target, (steps, rays), from booleans (X, Y)."""
        return self.gather(target) > 0.5 - 1e-6  # the faces of a voxel belong to it


def _planes(*images: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """The slices (X, Y) of images that are volumes (X, Y, Z), or slices already: one at a time, to save memory."""
    volumes = [image.reshape(*image.shape[:2], -1) for image in images]
    for index in range(volumes[0].shape[-1]):
        yield tuple(volume[..., index] for volume in volumes)


# ------------------------------------------------------------------------------------------------- the two questions


def central_target(mask: np.ndarray, spacing: Sequence[float], radius: float = 20.0) -> np.ndarray:
    """A target where a case comes without one: a ball of `radius` mm about the body's deepest point, booleans.

    Raises:
        InputError: the mask is empty or neither a slice nor a volume, spacing does not fit, or radius is not above 0.
    """
    mask = np.asarray(mask) > 0
    _check_grid(mask.shape, spacing)
    if not mask.any():
        raise InputError("the mask is empty: there is no body to put a target into")
    if not radius > 0:
        raise InputError(f"a target of radius {radius:g} mm holds no voxel: choose one above 0")
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[(slice(1, -1),) * mask.ndim]
    centre = np.unravel_index(depth.argmax(), mask.shape)
    axes = np.ogrid[tuple(slice(length) for length in mask.shape)]
    squares = [((axis - c) * size) ** 2 for axis, c, size in zip(axes, centre, spacing, strict=True)]
    return (sum(squares) <= radius**2) & mask


def range_error(
    ct: np.ndarray, sct: np.ndarray, mask: np.ndarray, target: np.ndarray, spacing: Sequence[float],
    angles: Sequence[float] = (0.0, 90.0),
) -> dict[str, float]:  # fmt: skip
    """How far off a proton plan on the sCT is: the depth of the target's far edge, sCT minus CT, in mm of water.

    Over all rays that hit the target, from all angles: `range_mean_mm` (above 0: the sCT is too dense, so the beam
    gets too much energy and runs past the target), `range_absolute_mm` (mean of the absolute values) and
    `range_worst_mm` (the largest of them). To compare: clinics commonly plan for range errors of any
    cause of up to 3.5% of the range and 1 mm (Geng et al. 2017, Phys Med Biol 62, 246).

    Raises:
        InputError: shapes differ or are neither slices nor volumes; mask or target is empty, or the target leaves the
            mask; an image is not finite inside the mask; spacing does not fit; there is no angle.
    """
    ct, sct, target = _checked(mask, target, spacing, angles, ct=ct, sct=sct)
    errors = []
    for angle in angles:
        beam = Beam(ct.shape, spacing, angle)
        for real, fake, aim in _planes(ct, sct, target):
            if not aim.any():
                continue
            inside = beam.inside(aim)
            far_edge = len(inside) - 1 - inside[::-1].argmax(axis=0)
            real, fake = (relative_stopping_power(image) for image in (real, fake))
            # A sum of differences is the difference of the sums.
            too_deep = np.take_along_axis(beam.depth(fake - real), far_edge[None], axis=0)[0]
            errors.append(too_deep[inside.any(axis=0)])
    error = np.concatenate(errors)
    return {
        "range_mean_mm": float(error.mean()),
        "range_absolute_mm": float(np.abs(error).mean()),
        "range_worst_mm": float(np.abs(error).max()),
    }


def photon_dose(
    hu: np.ndarray, mask: np.ndarray, target: np.ndarray, spacing: Sequence[float],
    angles: Sequence[float] = (0.0, 90.0, 180.0, 270.0),
) -> np.ndarray:  # fmt: skip
    """Dose of equally strong 6 MV beams, each as wide as the target, an array as `hu`; 0 outside the body.

    Each beam gives exp(-`ATTENUATION` x water-equivalent depth), and the dose is their mean, so that 1 is what the
    skin would get if all beams came in at one place. Left out: scatter, the build-up of the first 15 mm, the
    divergence of the beam, its hardening and its penumbra. What remains is what an error in HU acts on first: how
    much of the primary beam arrives.

    Raises:
        InputError: as for `range_error`.
    """
    hu, target = _checked(mask, target, spacing, angles, hu=hu)
    dose = np.zeros(hu.shape)
    layers = dose.reshape(*hu.shape[:2], -1)  # the same memory, always with slices along axis 2
    for angle in angles:
        beam = Beam(hu.shape, spacing, angle)
        for index, (plane, aim) in enumerate(_planes(hu, target)):
            if aim.any():
                opened = beam.inside(aim).any(axis=0)
                left = np.exp(-ATTENUATION * beam.depth(relative_electron_density(plane)))
                layers[..., index] += beam.scatter(left * opened) / len(angles)
    return dose * (np.asarray(mask) > 0)


def dose_difference(
    ct: np.ndarray, sct: np.ndarray, mask: np.ndarray, target: np.ndarray, spacing: Sequence[float],
    angles: Sequence[float] = (0.0, 90.0, 180.0, 270.0),
) -> np.ndarray:  # fmt: skip
    """`photon_dose` on the sCT minus that on the CT, in percent of the prescription, an array as `ct`.

    The prescription is the mean dose of the target on the CT. The beams are as strong in both.

    Raises:
        InputError: as for `range_error`.
    """
    _checked(mask, target, spacing, angles, ct=ct, sct=sct)
    real, fake = (photon_dose(image, mask, target, spacing, angles) for image in (ct, sct))
    return 100 * (fake - real) / real[np.asarray(target) > 0].mean()


def _check_grid(shape: tuple[int, ...], spacing: Sequence[float]) -> None:
    if len(shape) not in (2, 3):
        raise InputError(f"an image of shape {shape} is neither a slice (X, Y) nor a volume (X, Y, Z)")
    if len(spacing) != len(shape) or not all(0 < size < math.inf for size in spacing):
        raise InputError(f"spacing {tuple(spacing)} does not fit shape {shape}: give mm above 0, one for each axis")


def _checked(
    mask: np.ndarray, target: np.ndarray, spacing: Sequence[float], angles: Sequence[float], **images: np.ndarray
) -> list[np.ndarray]:
    """The images with air outside the mask, then the target as booleans, once all are known to fit together."""
    mask, target = np.asarray(mask) > 0, np.asarray(target) > 0
    shapes = {name: np.shape(image) for name, image in images.items()} | {"mask": mask.shape, "target": target.shape}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"shapes differ: {told}; resample them onto one grid first")
    _check_grid(mask.shape, spacing)
    if not len(angles) or not np.isfinite(angles).all():
        raise InputError(f"angles {tuple(angles)}: give at least one direction, in degrees")
    if not target.any():
        raise InputError("the target is empty: there is nothing to aim at")
    if (target & ~mask).any():
        raise InputError("the target reaches outside the mask: cut it to the body first (target & mask)")
    for name, image in images.items():
        if not np.isfinite(np.asarray(image)[mask]).all():
            raise InputError(f"{name} holds NaN or infinity inside the mask: look at how it was made or resampled")
    return [*(np.where(mask, image, AIR_HU) for image in images.values()), target]
