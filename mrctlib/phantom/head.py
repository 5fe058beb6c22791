"""A procedural head: anatomy drawn anew for every (seed, case), seen by an MR and a CT scanner.

The head is described in millimetres, so the same patient can be drawn on any grid. Each structure is a signed distance
(negative inside), painted front to back: what is painted first hides what comes after, and the part of a voxel that
is not yet covered goes to the next structure. This gives every voxel its tissue fractions, hence partial volume.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mrctlib.data.volumes import Volume, write_volume
from mrctlib.runtime import InputError, derive_seed, progress, refuse_existing, whole_folder

FIELD_OF_VIEW_MM = (256.0, 256.0, 192.0)
MANIFEST = "cohort.json"


# ---------------------------------------------------------------------------------------------------- tissues


@dataclass(frozen=True)
class Tissue:
    """What the two scanners see of a tissue.

    pd: proton density relative to water; t1, t2 in ms; fat: share of the protons that sit in fat; hu: Hounsfield units.
    """

    pd: float
    t1: float
    t2: float
    fat: float
    hu: float


# PD, T1 and T2 at 1.5 T of CSF, grey and white matter, fat, muscle and skin: BrainWeb (Kwan et al., IEEE TMI 18, 1999;
# its table gives skin the values of CSF, here those of muscle with a little more water). Yellow marrow and the T2 of
# cortical bone: Rank et al., Radiat Oncol 8:51, 2013, table 1. HU: middle of the ranges in Prokop, Spiral and
# Multislice CT of the Body, 2003 (air, fat, white and grey matter, blood); cortical bone of the skull varies per
# patient around 1100. Vitreous and lesions are set to look as on a scan: mapped from their wording, not measured.
TISSUES: dict[str, Tissue] = {
    "air": Tissue(0.00, 1000, 1, 0.00, -1000),
    "skin": Tissue(0.90, 900, 50, 0.10, 30),
    "fat": Tissue(1.00, 350, 70, 0.95, -90),
    "muscle": Tissue(1.00, 900, 47, 0.03, 50),
    "bone": Tissue(0.20, 200, 0.46, 0.00, 1100),
    "marrow": Tissue(0.75, 365, 90, 0.60, 250),
    "csf": Tissue(1.00, 2569, 329, 0.00, 8),
    "grey": Tissue(0.86, 833, 83, 0.00, 40),
    "white": Tissue(0.77, 500, 70, 0.00, 27),
    "vitreous": Tissue(1.00, 3000, 500, 0.00, 8),
    "tumour": Tissue(0.92, 1200, 130, 0.00, 33),
    "haemorrhage": Tissue(0.80, 420, 55, 0.00, 68),
    "calcification": Tissue(0.25, 500, 8, 0.00, 600),
}
LESIONS = ("tumour", "haemorrhage", "calcification")
BRAIN = ("csf", "grey", "white")


# ---------------------------------------------------------------------------------------------------- scanners


@dataclass(frozen=True)
class Scanner:
    """An MR and a CT scanner: sequences, and what each adds to the truth.

    tr, te: spin-echo times in ms by contrast; bias: relative amplitude of the shading; noise: standard deviation of
    each channel of the complex MR signal, as a share of white matter; blur_mm: standard deviation of the point spread;
    ct_noise, ct_blur_mm: the same for CT, noise in HU.
    """

    tr: dict[str, float] = field(default_factory=lambda: {"t1w": 500.0, "t2w": 4500.0, "pdw": 3000.0, "dixon": 150.0})
    te: dict[str, float] = field(default_factory=lambda: {"t1w": 12.0, "t2w": 100.0, "pdw": 15.0, "dixon": 4.0})
    bias: float = 0.12
    noise: float = 0.02
    blur_mm: float = 0.7
    ct_noise: float = 15.0
    ct_blur_mm: float = 0.8


SCANNERS: dict[str, Scanner] = {
    "a": Scanner(),
    # Longer T1w repetition (flatter contrast), stronger shading, more noise, coarser resolution.
    "b": Scanner(
        tr={"t1w": 900.0, "t2w": 3000.0, "pdw": 2200.0, "dixon": 220.0},
        te={"t1w": 20.0, "t2w": 80.0, "pdw": 25.0, "dixon": 4.0},
        bias=0.30,
        noise=0.05,
        blur_mm=1.4,
        ct_noise=25.0,
        ct_blur_mm=1.2,
    ),
}
CONTRASTS = ("t1w", "t2w", "pdw", "dixon_in", "dixon_out", "dixon_water", "dixon_fat")


def spin_echo(tissue: Tissue, tr: float, te: float) -> float:
    """Spin-echo signal PD (1 - exp(-TR/T1)) exp(-TE/T2), times in ms (e.g. Bernstein et al., Handbook of MRI Pulse
    Sequences, 2004)."""
    return tissue.pd * (1 - math.exp(-tr / tissue.t1)) * math.exp(-te / tissue.t2)


# ---------------------------------------------------------------------------------------------------- geometry


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


class Place:
    """Where each voxel lies in the average head: three (R, A, S) fields of mm, and shapes measured in them."""

    FAR = 60.0  # mm: the distance given to voxels that are surely outside a shape's neighbourhood

    def __init__(self, x: Tensor, y: Tensor, z: Tensor) -> None:
        self.x, self.y, self.z = x, y, z
        others = ((1, 2), (0, 2), (0, 1))
        self._slabs = [(a.amin(o), a.amax(o)) for a, o in zip((x, y, z), others, strict=True)]

    def ellipsoid(self, centre: Sequence[float], radii: Sequence[float], tilt: float = 0.0) -> Tensor:
        """Approximate signed distance in mm to an ellipsoid, tilted by `tilt` radians about the x axis.

        The first-order estimate k0 (k0 - 1) / k1, with k0 = |q / r| and k1 = |q / r^2|: exact on the surface. Only
        computed within 20 mm around the shape, which is all that painting and fillets look at.
        """
        reach = list(radii) if not tilt else [radii[0], max(radii[1:]), max(radii[1:])]
        box = tuple(self._span(axis, centre[axis], reach[axis] + 20) for axis in range(3))
        x, y, z = self.x[box] - centre[0], self.y[box] - centre[1], self.z[box] - centre[2]
        if tilt:
            y, z = math.cos(tilt) * y + math.sin(tilt) * z, math.cos(tilt) * z - math.sin(tilt) * y
        x2, y2, z2 = ((a / r).square_() for a, r in zip((x, y, z), radii, strict=True))
        k0 = (x2 + y2 + z2).sqrt_()
        k1 = (x2 / radii[0] ** 2 + y2 / radii[1] ** 2 + z2 / radii[2] ** 2).sqrt_().clamp_(min=1e-6)
        distance = torch.full_like(self.x, self.FAR)
        distance[box] = (k0 * (k0 - 1) / k1).clamp_(max=self.FAR)
        return distance

    def both_sides(self, centre: Sequence[float], radii: Sequence[float], tilt: float = 0.0) -> Tensor:
        """The same ellipsoid on the right and on the left."""
        x, y, z = centre
        return union(self.ellipsoid((x, y, z), radii, tilt), self.ellipsoid((-x, y, z), radii, tilt))

    def _span(self, axis: int, centre: float, reach: float) -> slice:
        low, high = self._slabs[axis]
        near = torch.nonzero((high >= centre - reach) & (low <= centre + reach)).flatten()
        return slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 0)


def union(*distances: Tensor) -> Tensor:
    result = distances[0]
    for distance in distances[1:]:
        result = torch.minimum(result, distance)
    return result


def smooth_union(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """Union with a fillet of `radius` mm where the two meet (polynomial smooth minimum)."""
    h = (0.5 + 0.5 * (b - a) / radius).clamp(0, 1)
    return torch.lerp(b, a, h) - radius * h * (1 - h)


# ---------------------------------------------------------------------------------------------------- anatomy


@dataclass(frozen=True)
class Patient:
    """One head: the share of each tissue in each voxel, and what a scanner makes of it.

    fractions: tissue name -> (R, A, S) float32, summing to 1; space: its grid; body: boolean mask, air cavities
    included; lesion: boolean mask of the lesion (empty without one); ventricles: the share of each voxel that lies in
    the ventricles (a part of the CSF); bone_hu: this patient's cortical bone.
    """

    seed: int
    case: int
    fractions: dict[str, Tensor]
    space: Space
    body: np.ndarray
    lesion: np.ndarray
    ventricles: Tensor
    bone_hu: float

    def mr(self, contrast: str = "t1w", scanner: str | Scanner = "a") -> np.ndarray:
        """The MR image, (R, A, S) float32, white matter near 1000. For `contrast` see `CONTRASTS`.

        Rician noise: the magnitude of a complex signal with Gaussian noise in both channels (Gudbjartsson and
        Patz 1995). The Dixon water and fat images are half the sum and half the difference of the two echoes with
        their sign, as a scanner has them after phase correction.
        """
        scanner = _scanner(scanner)
        if contrast not in CONTRASTS:
            raise InputError(f"contrast {contrast!r}: choose one of {', '.join(CONTRASTS)}")
        sequence = contrast.split("_")[0]
        tr, te = scanner.tr[sequence], scanner.te[sequence]
        signals = {name: spin_echo(tissue, tr, te) for name, tissue in TISSUES.items()}
        fat = sum(f * signals[n] * TISSUES[n].fat for n, f in self.fractions.items() if TISSUES[n].fat)
        water = sum(f * signals[n] * (1 - TISSUES[n].fat) for n, f in self.fractions.items() if signals[n])
        # The phase of a plain spin echo is refocused, so fat and water add; out of phase they cancel.
        signal = {"dixon_out": water - fat, "dixon_water": water, "dixon_fat": fat}.get(contrast, water + fat)

        # One bias field and one noise pattern for each patient and contrast, whatever else is asked for.
        generator = self._generator("mr", contrast)
        bias = torch.exp(scanner.bias * self.space.smooth_noise(generator, wavelength_mm=260, waves=12))
        signal = _blur(signal * bias, scanner.blur_mm, self.space.spacing) / signals["white"]
        noise = scanner.noise * torch.randn(2, *signal.shape, generator=generator)
        magnitude = ((signal + noise[0]) ** 2 + noise[1] ** 2).sqrt()
        return (1000 * magnitude).numpy()

    def ct(self, scanner: str | Scanner = "a", *, noisy: bool = True, shift_mm=(0, 0, 0), rotate_deg=0.0) -> np.ndarray:
        """The CT image in HU, (R, A, S) float32.

        shift_mm and rotate_deg (about the z axis) move the head between the MR and the CT: a rigid misregistration.
        noisy=False leaves out the noise, and with it the floor that no prediction can go under (`noise_floor_hu`).
        """
        scanner = _scanner(scanner)
        hu = {name: tissue.hu for name, tissue in TISSUES.items()} | {"bone": self.bone_hu}
        image = sum((hu[name] + 1000) * fraction for name, fraction in self.fractions.items())
        image = _blur(image, scanner.ct_blur_mm, self.space.spacing)
        if any(shift_mm) or rotate_deg:
            image = torch.from_numpy(_move(image.numpy(), shift_mm, rotate_deg, self.space.spacing))
        if noisy:
            image = image + scanner.ct_noise * torch.randn(image.shape, generator=self._generator("ct"))
        return (image - 1000).numpy()

    def labels(self, names: Sequence[str] = BRAIN) -> np.ndarray:
        """Tissue map, (R, A, S) uint8: 1 + index into `names` of the largest share, 0 where that is another tissue."""
        everything = [*names, *(n for n in self.fractions if n not in names)]
        largest = torch.stack([self.fractions[n] for n in everything]).argmax(0)
        return torch.where(largest < len(names), largest + 1, 0).to(torch.uint8).numpy()

    def _generator(self, *parts: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, self.case, *parts))


def noise_floor_hu(scanner: str | Scanner = "a") -> float:
    """Mean absolute error in HU of a prediction that knows all of the patient but not the noise: sigma sqrt(2/pi)."""
    return _scanner(scanner).ct_noise * math.sqrt(2 / math.pi)


def draw_patient(
    seed: int,
    case: int,
    shape: Sequence[int] = (128, 128, 96),
    *,
    lesion: str | None = None,
    atrophy: float = 0.0,
) -> Patient:
    """Draw one patient on a grid of `shape` voxels over 256 x 256 x 192 mm; the same (seed, case) is the same person.

    lesion: None, or one of `LESIONS`, put somewhere into the brain. atrophy: how much brain is lost, 0 (healthy) to 1
    (severe): the ventricles and the sulci of the same person are wider, the skull stays as it is.

    Raises:
        InputError: an unknown lesion, an atrophy outside 0 to 1, or a grid too coarse to show a head.
    """
    if not 0 <= atrophy <= 1:
        raise InputError(f"atrophy {atrophy}: give a number from 0 (healthy) to 1 (severe)")
    if lesion not in (None, *LESIONS):
        raise InputError(f"lesion {lesion!r}: choose one of {', '.join(LESIONS)}, or none")
    if len(shape) != 3 or min(shape) < 16:
        raise InputError(f"shape {tuple(shape)}: a head needs three axes of at least 16 voxels")
    space = Space(shape)
    person = _Person(derive_seed(seed, case, "anatomy"), space)
    person.lose_brain(atrophy)
    p = person.place()
    cranium = _cranium(p)
    brush = _Brush(space)
    if lesion:
        brush.paint(lesion, person.lesion(p, small=lesion == "calcification"))
    lesion_mask = brush.remaining < 0.5
    ventricles = _paint_brain(brush, person, p, cranium)
    _paint_face_and_base(brush, person, p)
    _paint_skull(brush, person, p, cranium)
    head = _paint_soft_tissue(brush, person, p, cranium)
    brush.fractions["air"] += brush.remaining
    return Patient(
        seed=seed,
        case=case,
        fractions=brush.fractions,
        space=space,
        body=(head < 0).numpy(),
        lesion=lesion_mask.numpy(),
        ventricles=ventricles,
        bone_hu=person.bone_hu,
    )


class _Brush:
    """Paints front to back: a new structure only gets what is still uncovered of each voxel."""

    def __init__(self, space: Space) -> None:
        self.edge = sum(space.spacing) / 3  # the share of a voxel inside grows over about one voxel's width
        self.fractions: dict[str, Tensor] = {}
        self.remaining = torch.ones(space.shape)

    def paint(self, tissue: str, distance: Tensor) -> Tensor:
        """Returns the share of each voxel that was painted."""
        covered = self.remaining * (0.5 - distance / self.edge).clamp(0, 1)
        self.remaining = self.remaining - covered
        self.fractions[tissue] = self.fractions[tissue] + covered if tissue in self.fractions else covered
        return covered


class _Person:
    """The numbers that make one head differ from the next. Lengths in mm, drawn once, in a fixed order."""

    def __init__(self, seed: int, space: Space) -> None:
        self.space = space
        self.generator = torch.Generator().manual_seed(seed)
        self.size = self._draw(1.0, 0.035)
        self.width = self._draw(1.0, 0.03)
        self.length = self._draw(1.0, 0.03)
        self.skull = self._draw(6.5, 1.0, low=4.5)
        self.scalp_fat = self._draw(4.0, 1.0, low=2.0)
        self.ventricles = self._draw(1.0, 0.22, low=0.55)
        self.sulci = self._draw(0.9, 0.4, low=0.2)
        self.sinus = self._draw(1.0, 0.15, low=0.6)
        self.mastoid = self._draw(1.0, 0.2, low=0.5)
        self.asymmetry = self._draw(0.0, 1.5)
        self.nod = self._draw(0.0, 0.06)
        self.jaw = self._draw(0.0, 2.0)
        self.bone_hu = self._draw(1100.0, 90.0, low=850.0)
        self.noise_seed = int(torch.randint(2**31, (1,), generator=self.generator))
        self.lesion_draw = torch.rand(5, generator=self.generator)

    def _draw(self, mean: float, std: float, low: float = -math.inf) -> float:
        return max(low, mean + std * float(torch.randn(1, generator=self.generator).clamp(-2, 2)))

    def lose_brain(self, atrophy: float) -> None:
        """Widen ventricles and sulci. At 1 the ventricles have more than twice their volume: drawn, not measured."""
        self.ventricles *= 1 + 0.7 * atrophy
        self.sulci += 0.8 * atrophy

    def field(self, name: str, wavelength_mm: float, waves: int = 24) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.noise_seed, name))
        return self.space.smooth_noise(generator, wavelength_mm, waves)

    def place(self) -> Place:
        """The average head scaled, nodding and gently bent into this person's."""
        x, y, z = (
            axis + 2.2 * self.field(f"bend{i}", 110, waves=12)
            for i, axis in enumerate((self.space.x, self.space.y, self.space.z))
        )
        x = x + self.asymmetry * torch.tanh(y / 60)
        y, z = y * math.cos(self.nod) + z * math.sin(self.nod), z * math.cos(self.nod) - y * math.sin(self.nod)
        return Place(x / (self.size * self.width), y / (self.size * self.length), z / self.size)

    def lesion(self, p: Place, *, small: bool) -> Tensor:
        """A lumpy ball within one hemisphere."""
        side, across, along, up, size = self.lesion_draw.tolist()
        centre = ((1 if side < 0.5 else -1) * (26 + 14 * across), -35 + 70 * along, 18 + 22 * up)
        radius = (3.5 + 2.5 * size) if small else (9 + 6 * size)
        lumps = 0.12 * radius * self.field("lesion", 2.2 * radius)
        return p.ellipsoid(centre, (radius, 1.15 * radius, 0.9 * radius)) + lumps


# ---- the parts, front to back. Numbers are positions and radii in mm in the average head.


def _cranium(p: Place) -> Tensor:
    """Inner table of the skull: the vault, the temporal lobes' fossae and the posterior fossa."""
    vault = p.ellipsoid((0, -4, 14), (66, 82, 66))
    floor = -32 - 0.14 * p.y - p.z  # the base rises to the front
    temporal = p.both_sides((40, 8, -22), (24, 34, 20))
    posterior = p.ellipsoid((0, -42, -32), (50, 36, 28))
    return smooth_union(smooth_union(torch.maximum(vault, floor), temporal, 6), posterior, 8)


def _paint_brain(brush: _Brush, person: _Person, p: Place, cranium: Tensor) -> Tensor:
    """Returns the share of each voxel that lies in the ventricles."""
    v = person.ventricles
    lateral = union(
        p.both_sides((11, 14, 22), (6 * v, 24, 8 * v), tilt=0.25),
        p.both_sides((19, -24, 20), (7 * v, 18, 9 * v), tilt=-0.3),
        p.both_sides((30, -6, -6), (4 * v, 17, 4 * v), tilt=-0.2),
    )
    third = p.ellipsoid((0, 0, 8), (2.2 * v, 13, 10))
    fourth = p.ellipsoid((0, -30, -26), (6 * v, 5 * v, 8))
    ventricles = brush.paint("csf", union(lateral, third, fourth) + 0.6 * person.field("ventricles", 18))

    stem = p.ellipsoid((0, -12, -26), (14, 12, 20))
    cord = p.ellipsoid((0, -26, -70), (6.5, 5.5, 60), tilt=-0.12)
    canal = p.ellipsoid((0, -26, -72), (11, 9.5, 62), tilt=-0.12)
    brush.paint("white", union(stem, cord))
    brush.paint("csf", canal)

    # Thalamus, lentiform nucleus (the internal capsule runs between the two) and caudate.
    deep = union(
        p.both_sides((11, -10, 10), (8, 14, 9)),
        p.both_sides((25, 4, 7), (7, 16, 10)),
        p.both_sides((14, 22, 14), (5, 10, 10)),
    )
    brush.paint("grey", deep + 0.8 * person.field("deep", 16))

    # Cortex: sulci are sheets where a smooth field crosses zero, fading with depth; grey matter is what lies within
    # 2.8 mm of CSF. Divided by its own slope, a field that crosses zero is about a distance. The cerebellum has the
    # same build with finer, parallel leaves.
    depth = -cranium
    folds = person.field("folds", 22, waves=48).abs() * (22 / 6.3) + 1.2 * (depth - 16).clamp(min=0)
    commissures = p.ellipsoid((0, -2, 6), (40, 44, 26))  # corpus callosum and thalamus: no gap between the halves
    midline = torch.maximum(p.x.abs() - 0.4, -commissures)
    cerebellum = p.ellipsoid((0, -46, -34), (46, 30, 22)) + 0.8
    tentorium = cerebellum.abs() - 0.5
    leaves = torch.cos(0.9 * (p.z + 0.35 * p.y + 1.5 * person.field("leaves", 24))).abs() * 2.2 + 0.6
    gap = union(folds - 0.7 * person.sulci, midline, tentorium)
    to_csf = torch.where(cerebellum < 0, torch.minimum(leaves, -cerebellum), gap)
    surface = cranium + 1.6 + 0.6 * person.sulci
    brush.paint("white", torch.maximum(surface + 2.6, 2.8 - to_csf))
    brush.paint("grey", torch.maximum(surface, -to_csf))
    brush.paint("csf", cranium)
    return ventricles


def _paint_face_and_base(brush: _Brush, person: _Person, p: Place) -> None:
    """Eyes in their orbits, air in the sinuses, nose, throat and ears, each with its lining."""
    s = person.sinus
    lumpy = person.field("cavities", 22)

    globe = p.both_sides((32, 70, -30), (12, 12, 12))
    brush.paint("vitreous", globe + 1.2)
    brush.paint("muscle", globe)
    brush.paint("white", p.both_sides((24, 46, -29), (2.2, 18, 2.2)))  # optic nerve
    rectus = [(38, 52, -29), (22, 52, -30), (30, 54, -20), (30, 54, -38)]
    brush.paint("muscle", union(*(p.both_sides(centre, (1.8, 17, 2.6)) for centre in rectus)))
    brush.paint("fat", p.both_sides((30, 58, -30), (17, 28, 16)))

    frontal = p.both_sides((11, 76, -10), (11 * s, 5 * s, 11 * s))
    maxillary = p.both_sides((28, 56, -60), (13 * s, 15 * s, 14 * s))
    sphenoid = p.ellipsoid((2 * person.asymmetry, 26, -42), (13 * s, 11 * s, 9 * s))
    brush.paint("air", union(frontal, maxillary, sphenoid) + 1.5 * lumpy)
    ethmoid = p.ellipsoid((0, 56, -36), (10, 22, 11))
    cells = torch.cos(0.45 * p.x) * torch.cos(0.4 * p.y + 0.25 * p.z) + 0.2 * lumpy  # thin walls between small cells
    brush.paint("air", torch.maximum(ethmoid, 3 * (0.2 - cells.abs())))
    nasal = torch.maximum(p.ellipsoid((0, 66, -58), (13, 30, 17)), 1.2 - p.x.abs())  # a septum in the middle
    from_the_walls = p.x.abs() - 4
    turbinates = torch.minimum(4 * torch.cos(0.5 * (p.z + 58) + 0.5 * lumpy) - 1.5, from_the_walls)
    brush.paint("air", torch.maximum(nasal, turbinates))
    pharynx = union(p.ellipsoid((0, 22, -78), (11, 8, 22)), p.ellipsoid((0, 12, -104), (8, 7, 24)))
    brush.paint("air", pharynx + 0.8 * lumpy)

    mastoid = p.both_sides((54, -24, -46), (10, 12, 15)) + 2 * (1 - person.mastoid)
    honeycomb = torch.cos(0.7 * p.x) + torch.cos(0.65 * p.y) + torch.cos(0.6 * p.z) + 0.4 * lumpy
    brush.paint("air", torch.maximum(mastoid, 2.2 * (0.28 - honeycomb.abs())))
    brush.paint("air", p.both_sides((64, -8, -43), (22, 3.2, 3.2)))  # ear canal
    brush.paint("csf", p.both_sides((38, -8, -43), (4, 3, 3)))  # inner ear
    mucosa = union(frontal, maxillary, sphenoid, ethmoid, nasal, pharynx + 1) - 1.5
    brush.paint("muscle", mucosa + lumpy)
    brush.paint("muscle", p.ellipsoid((0, 46, -92), (22, 30, 16)))  # tongue


def _paint_skull(brush: _Brush, person: _Person, p: Place, cranium: Tensor) -> None:
    """The vault with marrow between its two tables, then the bones of base, face, jaw and neck with theirs."""
    front_back = (p.y / 82).clamp(-1, 1) ** 2  # thick at forehead and occiput, thin at the temples
    thickness = (person.skull * (0.78 + 0.4 * front_back + 0.08 * person.field("skull", 60))).clamp(min=2.5)
    jaw_outside = torch.maximum(p.ellipsoid((0, 34 + person.jaw, -100), (48, 56, 16)), 12 - p.y)
    jaw = torch.maximum(jaw_outside, -p.ellipsoid((0, 34 + person.jaw, -100), (37, 45, 40)))
    ramus = p.both_sides((46, 16, -76), (5, 14, 28))
    teeth = torch.maximum(p.ellipsoid((0, 56, -88), (25, 30, 7)), -p.ellipsoid((0, 54, -88), (17, 21, 40)))
    clivus_and_dens = p.ellipsoid((0, -14, -84), (17, 10, 30), tilt=-0.1)
    arch = p.ellipsoid((0, -44, -88), (13, 10, 20))
    petrous = p.both_sides((42, -12, -44), (24, 9, 9))
    sphenoid = p.ellipsoid((0, 26, -42), (26, 18, 12))
    mastoid = p.both_sides((54, -24, -46), (14, 16, 19))
    maxilla = p.both_sides((28, 56, -58), (17, 19, 18))
    brow = p.both_sides((16, 76, -12), (20, 9, 13))
    cheek = p.both_sides((56, 34, -48), (5, 32, 5.5))
    bones = union(
        jaw,
        ramus,
        teeth,
        clivus_and_dens,
        arch,
        petrous,
        sphenoid,
        mastoid,
        maxilla,
        brow,
        cheek,
        torch.maximum(p.both_sides((30, 58, -30), (19, 27, 18)), p.y - 70),  # orbit, open to the front
        p.ellipsoid((0, 60, -78), (22, 24, 4.5)),  # palate
    )
    # Only shells are dense: vault, cheekbones, jaw and vertebrae hold fatty marrow, the petrous bone hardly any.
    diploe = (cranium - thickness / 2).abs() - (thickness - 4.2) * 0.42
    cores = union(clivus_and_dens, arch, jaw, ramus, maxilla, brow, cheek, mastoid) + 3
    cores = union(cores, sphenoid + 4, petrous + 6)
    brush.paint("marrow", union(diploe, cores))
    brush.paint("bone", union(cranium - thickness, bones))


def _paint_soft_tissue(brush: _Brush, person: _Person, p: Place, cranium: Tensor) -> Tensor:
    """Muscle, fat and skin. Returns the signed distance to the skin's outside, air cavities included in the body."""
    uneven = person.field("scalp", 45)
    scalp = cranium - person.skull * 1.05 - person.scalp_fat - 2.5
    face = p.ellipsoid((0, 34, -62), (62, 62, 62))
    nose = p.ellipsoid((0, 96, -56), (11, 16, 18), tilt=0.35)
    chin = p.ellipsoid((0, 66 + person.jaw, -104), (34, 30, 22))
    neck = p.ellipsoid((0, -12, -120), (58, 62, 80))
    lower = smooth_union(smooth_union(nose, chin, 10), neck, 16)
    head = smooth_union(smooth_union(scalp, face, 14), lower, 12) + 0.8 * uneven

    galea = torch.maximum(head + 2.2 + person.scalp_fat * 0.75, cranium - person.skull * 1.3 - 2.0)
    flesh = union(
        galea,
        p.both_sides((66, 22, -16), (9, 34, 40)),  # temporal
        p.both_sides((56, 22, -76), (8, 20, 32)),  # masseter
        p.both_sides((32, 20, -70), (11, 16, 26)),  # pterygoid
        p.ellipsoid((0, -52, -96), (44, 30, 52)),  # nape
        p.ellipsoid((0, 84, -88), (26, 10, 14)),  # lips
        p.ellipsoid((0, -4, -112), (51, 52, 62)),  # neck
    )
    brush.paint("muscle", torch.maximum(flesh + 1.2 * uneven, head + 3.5))
    brush.paint("fat", head + 2.0)
    brush.paint("skin", head)
    return head


# ---------------------------------------------------------------------------------------------------- imaging


def _scanner(scanner: str | Scanner) -> Scanner:
    if isinstance(scanner, Scanner):
        return scanner
    if scanner not in SCANNERS:
        raise InputError(f"scanner {scanner!r}: choose one of {', '.join(SCANNERS)}")
    return SCANNERS[scanner]


def _blur(image: Tensor, sigma_mm: float, spacing: Sequence[float]) -> Tensor:
    """Gaussian point spread with a standard deviation of `sigma_mm` along each axis."""
    blurred = image.numpy()
    for axis, size in enumerate(spacing):
        blurred = ndimage.gaussian_filter1d(blurred, sigma_mm / size, axis=axis, mode="nearest", truncate=3)
    return torch.from_numpy(blurred)


def _move(image: np.ndarray, shift_mm: Sequence[float], rotate_deg: float, spacing: Sequence[float]) -> np.ndarray:
    """Rigid motion about the centre of the image: `rotate_deg` about z, then `shift_mm`. What enters is 0."""
    angle = math.radians(rotate_deg)
    rotation = np.array([[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    scale = np.diag(spacing)
    matrix = np.linalg.inv(scale) @ rotation @ scale  # output voxel -> input voxel
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ (centre + np.array(shift_mm) / np.array(spacing))
    return ndimage.affine_transform(image, matrix, offset, order=1).astype(np.float32)


# ---------------------------------------------------------------------------------------------------- cohorts


def write_cohort(
    folder: str | Path, cases: int, seed: int = 0, *, shape: Sequence[int] = (128, 128, 96), contrast: str = "t1w",
    scanner: str = "a", lesion: str | None = None, force: bool = False,
) -> Path:  # fmt: skip
    """Write `cases` phantom patients as a cohort: CASE/mr.nii.gz, ct.nii.gz, mask.nii.gz (and lesion.nii.gz).

    `cohort.json` beside them says what they are and gives their noise floor. The folder appears when all is written.

    Raises:
        InputError: the folder exists (with `force` only an earlier phantom cohort is replaced), a bad argument, or
            the disk refused the bytes.
    """
    folder = Path(folder)
    if cases < 1:
        raise InputError(f"cases is {cases}: a cohort has at least one")
    refuse_existing(folder, force=force)
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if other := [name for name in there if name != MANIFEST and not name.startswith("phantom_")]:
        raise InputError(f"{folder}: is no phantom cohort (it holds {other[0]}), so it is not replaced; name another")
    with whole_folder(folder) as staging:
        for case in progress(range(cases), "drawing patients", unit="case"):
            patient = draw_patient(seed, case, shape, lesion=lesion)
            _write_case(staging / f"phantom_{seed}_{case:03d}", patient, contrast, scanner)
        about = {"data": "phantom", "seed": seed, "cases": cases, "shape": list(shape), "contrast": contrast}
        about |= {"scanner": asdict(_scanner(scanner)), "lesion": lesion, "noise_floor_hu": noise_floor_hu(scanner)}
        (staging / MANIFEST).write_text(json.dumps(about, indent=2) + "\n")
    return folder


def _write_case(folder: Path, patient: Patient, contrast: str, scanner: str) -> None:
    folder.mkdir(parents=True)
    images = {"mr": patient.mr(contrast, scanner), "ct": patient.ct(scanner), "mask": patient.body}
    if patient.lesion.any():
        images["lesion"] = patient.lesion
    for name, image in images.items():
        write_volume(Volume(image, patient.space.affine), folder / f"{name}.nii.gz")
