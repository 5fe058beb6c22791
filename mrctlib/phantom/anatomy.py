"""The parts of a head, painted front to back. Numbers are positions and radii in mm in the average head.

x right, y front, z up, the origin in the middle of the brain. What comes in pairs is drawn in |x|, once; the bend of
each person makes the two sides differ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mrctlib.phantom.geometry import Brush, Part, Place, Space, sampled, smooth_union, union
from mrctlib.runtime import derive_seed


class Person:
    """The numbers that make one head differ from the next. Lengths in mm, drawn once, in a fixed order."""

    def __init__(self, seed: int, space: Space, *, age: float = 55.0) -> None:
        self.space = space
        self.generator = torch.Generator().manual_seed(seed)
        self.size = self._draw(0.978, 0.033)
        self.width = self._draw(1.0, 0.03)
        self.length = self._draw(1.0, 0.03)
        self.skull = self._draw(6.3, 1.0, low=3.2)
        self.scalp_fat = self._draw(2.8, 0.8, low=1.0)
        self.ventricles = math.exp(min(0.45, self._draw(0.0, 0.27)))  # wider ones are none of a healthy head
        self.sulci = self._draw(0.82, 0.25, low=0.3)
        self.sinus = self._draw(1.0, 0.15, low=0.6)
        self.mastoid = self._draw(1.0, 0.2, low=0.5)
        self.asymmetry = self._draw(0.0, 1.5)
        self.nod = self._draw(0.0, 0.05)
        self.bone_hu = self._draw(1100.0, 90.0, low=850.0)
        self.noise_seed = int(torch.randint(2**31, (1,), generator=self.generator))
        self.lesion_draw = torch.rand(5, generator=self.generator)
        self.concretions = torch.rand(2, generator=self.generator) < (age - 5) / 100
        # From 20 to 80 the brain loses about a tenth of its volume; half a step is taken either side of 55.
        years = (age - 55) / 60
        self.ventricles *= math.exp(0.45 * years)
        self.sulci = max(0.2, self.sulci + 0.45 * years)

    def _draw(self, mean: float, std: float, low: float = -math.inf) -> float:
        return max(low, mean + std * float(torch.randn(1, generator=self.generator).clamp(-2, 2)))

    def lose_brain(self, atrophy: float) -> None:
        """Widen ventricles and sulci. At 1 the ventricles have more than twice their volume: drawn, not measured."""
        self.ventricles *= 1 + 0.5 * atrophy
        self.sulci += 0.8 * atrophy

    def field(self, name: str, wavelength_mm: float, waves: int = 24, space: Space | None = None) -> Tensor:
        """A smooth field of this person's, by name; on a coarser space the same field."""
        generator = torch.Generator().manual_seed(derive_seed(self.noise_seed, name))
        return (space or self.space).smooth_noise(generator, wavelength_mm, waves)

    def place(self) -> Place:
        """The average head scaled, nodding and gently bent into this person's."""
        x, y, z = (
            axis + 2.0 * self.field(f"bend{i}", 110, waves=12)
            for i, axis in enumerate((self.space.x, self.space.y, self.space.z))
        )
        x = x + self.asymmetry * torch.tanh(y / 60)
        y, z = y * math.cos(self.nod) + z * math.sin(self.nod), z * math.cos(self.nod) - y * math.sin(self.nod)
        return Place(x / (self.size * self.width), y / (self.size * self.length), z / self.size)

    def lesion(self, p: Place, radius_mm: tuple[float, float]) -> Part:
        """A lumpy ball within one hemisphere, its radius between two."""
        side, across, along, up, size = self.lesion_draw.tolist()
        centre = ((1 if side < 0.5 else -1) * (26 + 14 * across), -40 + 70 * along, 10 + 24 * up)
        radius = radius_mm[0] + (radius_mm[1] - radius_mm[0]) * size
        lumps = 0.12 * radius * self.field("lesion", 2.2 * radius)
        return p.ellipsoid(centre, (radius, 1.15 * radius, 0.9 * radius)).grown(-lumps)


# ------------------------------------------------------------------------------------------------ the cranial cavity


def cranium_of(person: Person, p: Place) -> Tensor:
    """Signed distance to the inner table of the skull: the vault, the temporal fossae and the posterior fossa."""
    vault = p.whole(p.ellipsoid((0, -4, 10), (69, 89, 57.5), reach=30))
    floor = -29 - 0.10 * p.y - p.z  # the base rises to the front
    temporal = p.whole(p.pairs.ellipsoid((40, 6, -26), (25, 34, 21), reach=20))
    posterior = p.whole(p.ellipsoid((0, -46, -35), (50, 37, 27), reach=20))
    cavity = smooth_union(smooth_union(torch.maximum(vault, floor), temporal, 12), posterior, 16)
    return cavity + 0.5 * person.field("impressions", 20)


# name: (wavelength, depth it fades at, width) in mm; long deep folds, and short shallow ones between them.
FOLDS = {"long": (39.0, 17.0, 1.0), "short": (26.0, 8.5, 0.7)}


def folds_of(person: Person, p: Place, depth: Tensor) -> Tensor:
    """Distance in mm to the sulci of the cerebral hemispheres (negative inside their CSF), from the depth in mm below
    the brain's surface; FAR where no fold can be.

    A fold is where a random field on the surface of a hemisphere crosses zero: every voxel looks the field up where
    the ray from the hemisphere's axis through it meets a shell, so that the sheets run from the surface inward, and
    fade at a depth that varies as well.
    """
    into = torch.minimum(depth, p.x.abs() - 1)  # how far below the surface, that between the halves included
    near = (into > -3) & (into < 28) & (depth > -3)
    into, x, y, z = into[near], p.x[near], p.y[near], p.z[near]
    side = torch.where(x < 0, -1.0, 1.0)
    temporal = (z < -7 + 0.12 * y) & (y > -50) & (y < 34) & (x.abs() > 23)
    centre = [
        side * torch.where(temporal, 40.0, 27.0),
        torch.where(temporal, y.clamp(-32, 18), y.clamp(-46, 36)),
        torch.where(temporal, -25.0, 15.0),
    ]
    # No fold runs quite straight: the voxels are moved about before they look.
    away = [axis + 3.5 * person.field(f"wander{i}", 30)[near] - centre[i] for i, axis in enumerate((x, y, z))]
    scale = sum(a.square() for a in away).sqrt_().clamp_(min=1) / torch.where(temporal, 22.0, 42.0)
    at = [c + a / scale for c, a in zip(centre, away, strict=True)]
    coarse = Space((72, 88, 72), (216, 264, 216))  # 3 mm is fine enough for such waves
    fields = [person.field(n, w, 48, coarse) for n, (w, _, _) in FOLDS.items()]
    fields += [person.field(f"{n} depth", 50, 24, coarse) for n in FOLDS]
    values = sampled(torch.stack(fields), coarse, *at)
    nearest = torch.full_like(into, Place.FAR)
    for (wavelength, deepest, width), field, reach in zip(FOLDS.values(), values[:2], values[2:], strict=True):
        sheet = field.abs() * (wavelength / 6.3) * scale.clamp(0.45, 1.2)
        opening = width * person.sulci * (0.3 + 0.9 * torch.exp(-into.clamp(min=0) / 4))
        nearest = torch.minimum(nearest, sheet + (into - deepest - 3 * reach).clamp_(min=0) - opening)
    to_csf = torch.full_like(depth, Place.FAR)
    to_csf[near] = nearest
    return to_csf


def paint_brain(brush: Brush, person: Person, p: Place, cranium: Tensor) -> Tensor:
    """Ventricles, deep nuclei, stem, cortex, cerebellum and the CSF about them. Returns the ventricles' share."""
    pairs, v = p.pairs, 1.4 * person.ventricles
    lumps = person.field("ventricles", 18)
    if person.concretions[0]:
        brush.paint("concretion", p.ellipsoid((0, -33, -1), (1.8, 2.4, 1.8)))
    if person.concretions[1]:
        brush.paint("concretion", pairs.ellipsoid((24, -41, 9), (1.8, 3.2, 2.2)))
    brush.paint("grey", pairs.tube([(20, -32, 17), (24, -41, 11)], 1.6), p.ellipsoid((0, -33, -1), (3, 4, 3)))  # plexus
    before = brush.remaining.clone()
    lateral = [  # wide ones push outwards, not through the septum between the two
        *pairs.tube([(6 + 3 * v, 38, 12), (1 + 4.4 * v, 20, 19), (1 + 4.4 * v, -6, 26), (8 + 5 * v, -30, 21),
                     (24, -39, 10)], [2.6 * v, 4.4 * v, 4.0 * v, 5 * v, 5.6 * v]),
        *pairs.tube([(24, -39, 10), (33, -24, -8), (34, -6, -16), (32, 5, -18)], [5 * v, 2.6 * v, 2 * v, v]),
        *pairs.tube([(24, -39, 10), (23, -62, 6)], [4 * v, 1.2 * v]),
    ]  # fmt: skip
    inner = [
        p.ellipsoid((0, -4, 5), (1.5 * v, 15, 11)),
        *p.tube([(0, -18, -3), (0, -25, -24)], 1.0),
        p.ellipsoid((0, -34, -35), (5.5 * v, 3.6 * v, 9), tilt=-0.25),
    ]
    brush.paint("csf", [part.grown(-0.5 * lumps) for part in lateral], inner)
    ventricles = before - brush.remaining

    paint_nuclei(brush, p)
    paint_vessels(brush, p, cranium)
    paint_stem(brush, p, cranium)

    gap = 1.2 + 0.9 * person.sulci  # between the cortex and the skull
    arch = Place(0.2 * p.x, p.y, p.z)
    body = [(0, 31, 7), (0, 41, 8), (0, 46, 14), (0, 44, 22), (0, 37, 27), (0, 22, 32), (0, 2, 35), (0, -18, 34)]
    body += [(0, -33, 30), (0, -43, 24), (0, -45, 17), (0, -39, 14)]
    brush.paint("white", arch.tube(body, 3.2), arch.tube([(0, -34, 24), (0, -10, 22), (0, 12, 16)], 1.2, reach=2))

    # Falx and tentorium: sheets of dura, each in its fissure.
    above = p.whole(p.ellipsoid((0, -2, 8), (300, 60, 36), reach=40))
    falx = torch.maximum(p.x.abs() - 0.6, torch.maximum(-above, cranium))
    cerebellum = p.whole(p.ellipsoid((0, -52, -40), (49, 32, 22.5), reach=10))
    roof = torch.maximum(cerebellum.abs() - 0.6, torch.maximum(-28 - p.z, torch.maximum(p.y + 26, cranium)))
    brush.paint("dura", falx, roof)

    surface = cranium + gap
    to_csf = folds_of(person, p, -surface)
    inside = p.whole(p.ellipsoid((0, 0, 6), (30, 47, 31), reach=12))  # nothing divides the halves here
    midline = torch.maximum(p.x.abs() - 1.0, -inside)
    sway = 2.5 * person.field("sylvian", 28)
    sylvian = (p.z + 5 - 0.22 * (p.y - 5) + sway).abs() - 1.0
    sylvian = sylvian + torch.maximum(torch.maximum(p.y - 36, -30 - p.y), 38 - p.x.abs()).clamp_(min=0)
    insula = (p.x.abs() - 41 + 0.006 * ((p.y - 5).square() + (p.z - 2).square()) + 0.6 * sway).abs() - 1.0
    insula = insula + torch.maximum(torch.maximum(p.y - 27, -20 - p.y), (p.z - 2).abs() - 13).clamp_(min=0)
    to_csf = union(to_csf, midline, sylvian, insula, cerebellum.abs() - 1.2)

    leaves = torch.cos(1.15 * (p.z + 0.4 * p.y + 0.15 * p.x.abs() + 1.5 * person.field("leaves", 24))).abs_() * 1.6
    within = cerebellum < 0
    to_csf = torch.where(within, torch.minimum(leaves + 0.2, -cerebellum - 0.8), to_csf)
    thick = torch.where(within, 1.5, 2.35 + 0.25 * person.field("cortex", 40))
    core = torch.where(within, 0.35 * (-cerebellum - 13).clamp(min=0), 0.0)  # the white core of the cerebellum
    brush.paint("white", torch.maximum(surface + thick, thick - to_csf - core))
    brush.paint("grey", torch.maximum(surface, -to_csf))
    brush.paint("csf", cranium)
    return ventricles


def paint_nuclei(brush: Brush, p: Place) -> None:
    """Caudate, lentiform nucleus, thalamus, hippocampus and amygdala; the internal capsule runs between them."""
    brush.paint(
        "grey",
        p.pairs.ellipsoid((15.5, 27, 13), (5.5, 11, 9)),
        p.pairs.tube([(17, 18, 20), (18, -16, 26)], [4, 2]),
        p.pairs.ellipsoid((27, 9, 5), (5, 17, 10.5)),
        p.pairs.ellipsoid((21, 4, 2), (4, 9, 7)),
        p.pairs.ellipsoid((11, -14, 9), (9, 15, 9)),
        p.pairs.tube([(27, -2, -21), (30, -16, -19), (28, -30, -8)], [5.5, 4.5, 3]),
        p.pairs.ellipsoid((23, 4, -21), (7, 8, 8)),
    )


def paint_stem(brush: Brush, p: Place, cranium: Tensor) -> None:
    """Midbrain, pons, medulla and cord, the cisterns about them and the spinal canal."""
    brush.paint(
        "white",
        p.ellipsoid((0, -16, -15), (14, 10, 10)),
        p.pairs.tube([(13, -2, -9), (8, -9, -28)], 6),
        p.ellipsoid((0, -13, -38), (16, 12.5, 14)),
        p.pairs.tube([(12, -22, -38), (24, -42, -38)], [7, 6]),
        p.tube([(0, -20, -50), (0, -28, -66), (0, -31, -110)], [8.5, 6.5, 5.5]),
    )
    brush.paint(
        "csf",
        p.ellipsoid((0, 12, -25), (13, 10, 7)),
        p.ellipsoid((0, 2, -44), (14, 6, 15)),
        p.ellipsoid((0, -16, -14), (19, 14, 12)),
        p.ellipsoid((0, -33, -8), (9, 6, 9)),
        p.ellipsoid((0, -64, -60), (17, 11, 7)).within(cranium),
        p.tube([(0, -24, -56), (0, -29, -70), (0, -31, -110)], [14, 10, 9]),
    )


def paint_vessels(brush: Brush, p: Place, cranium: Tensor) -> None:
    """The large arteries at the base and the venous sinuses of the dura."""
    carotid = [(24, -2, -110), (24, 2, -70), (23, 0, -55), (14, 5, -47), (11, 15, -39), (9, 13, -28)]
    brush.paint(
        "blood",
        p.pairs.tube(carotid, 2.4),
        p.pairs.tube([(9, 13, -27), (24, 9, -21), (38, 6, -11), (41, -6, 2)], [1.8, 1.6, 1.3, 1.0]),
        p.pairs.tube([(9, 13, -27), (2, 22, -21), (2, 50, -2), (2, 54, 20), (2, 24, 41)], [1.5, 1.3, 1.2, 1.1, 0.9]),
        p.pairs.tube([(15, -24, -110), (17, -28, -80), (7, -10, -66), (0, 2, -52)], 1.7),
        p.tube([(0, 2, -52), (0, 1, -22)], 1.7),
        p.pairs.tube([(0, 1, -22), (13, -8, -20), (20, -30, -10)], [1.4, 1.3, 1.0]),
    )
    # The superior sagittal sinus fills the corner between falx and skull.
    sagittal = torch.maximum(cranium, torch.maximum(p.x.abs() + 0.6 * (-cranium) - 4.5, -12 - p.z))
    brush.paint("blood", torch.maximum(sagittal, p.y - 72))
    transverse = [(0, -89, -20), (30, -81, -25), (52, -58, -29), (56, -42, -36)]
    sigmoid = [(48, -32, -52), (34, -18, -66), (34, -8, -110)]
    brush.paint("blood", p.pairs.tube([*transverse, *sigmoid], [3.5, 3.8, 4, 4, 4.2, 4.6, 5.0]))


# ------------------------------------------------------------------------------------------------ base and face


def paint_base(brush: Brush, person: Person, p: Place) -> None:
    """Petrous bones with their cells and the inner ear, and the clivus: they rise into the cranium, so come first."""
    pairs = p.pairs
    cells = 1.1 * person.field("cells", 7.5, waves=32) + 0.15
    m = person.mastoid
    brush.paint("air", pairs.tube([(76, -9, -45), (58, -10, -45)], [3.2, 3.0]))  # ear canal
    brush.paint("air", pairs.ellipsoid((51, -9, -43), (4, 4, 6)))  # middle ear
    mastoid = pairs.ellipsoid((56, -29, -55), (11, 12, 16))
    brush.paint("air", mastoid.grown(-4 + 1.5 * m).within(cells), pairs.ellipsoid((52, -22, -44), (4 * m, 5, 4)))
    brush.paint("csf", pairs.ellipsoid((40, -8, -43), (3.5, 2.5, 3)), pairs.tube([(36, -14, -42), (24, -18, -41)], 2.0))
    brush.paint("marrow", pairs.tube([(22, 2, -43), (15, 5, -43)], [3.0, 2.5]))
    brush.paint("bone", mastoid, pairs.tube([(54, -20, -46), (36, -9, -44), (16, 5, -42)], [10, 8.5, 5]))
    brush.paint("mucosa", p.ellipsoid((0, 14, -36), (6, 5, 4)))  # the pituitary gland in its saddle
    clivus = p.tube([(0, 4, -40), (0, 1, -52), (0, -7, -66)], [4, 6, 6])
    brush.paint("marrow", [part.grown(-2) for part in clivus])
    brush.paint("bone", clivus, p.tube([(-7, 5, -35), (7, 5, -35)], 1.6))


def paint_orbits(brush: Brush, p: Place) -> None:
    """Lens, vitreous and sclera, the optic nerve in its sheath, four straight muscles, and fat in a thin bony cone."""
    globe = p.pairs.ellipsoid((32, 72, -41), (12, 12, 12))
    brush.paint("lens", p.pairs.ellipsoid((32, 80, -41), (4.6, 2.1, 4.6)))
    brush.paint("vitreous", globe.grown(-1.2), p.pairs.ellipsoid((32, 80.5, -41), (5.5, 4.0, 5.5)))
    brush.paint("muscle", globe)
    nerve = [(31, 61, -41), (25, 44, -39), (9, 20, -30)]
    brush.paint("white", p.pairs.tube(nerve, 1.7))
    brush.paint("csf", p.pairs.tube(nerve, 2.6))
    apex = (21, 38, -39)
    for end in ((43, 70, -41), (21, 71, -41), (31, 69, -30), (31, 69, -52)):
        middle = tuple((a + b) / 2 + 0.22 * (b - c) for a, b, c in zip(apex, end, (31, 62, -41), strict=True))
        brush.paint("muscle", p.pairs.tube([apex, middle, end], [1.5, 2.4, 1.3]))
    brush.paint("gland", p.pairs.ellipsoid((42, 74, -31), (5, 6, 3)))
    cone = p.pairs.ellipsoid((30, 62, -41), (18, 27, 17)).within(p.y - 84)
    brush.paint("fat", cone)
    brush.paint("bone", cone.grown(1.6).within(p.y - 78))


def paint_face(brush: Brush, person: Person, p: Place, *, fillings: bool) -> None:
    """Sinuses, nose and throat with their lining, teeth, tongue, jaw and the first two vertebrae."""
    pairs, s = p.pairs, person.sinus
    paint_orbits(brush, p)
    lumpy = person.field("cavities", 24)

    # Turbinates: three scrolls on either wall, a core of bone in mucosa; a septum, seldom straight.
    for z, r, shorter in ((-75, 4.2, 0), (-64, 3.4, 3), (-56, 2.4, 12)):
        scroll = [(7.5, 46, z + 3), (7, 60, z), (7, 78 - shorter, z - 1)]
        brush.paint("bone", pairs.tube(scroll, 0.6))
        brush.paint("mucosa", pairs.tube(scroll, r))
    septum = (p.x + 1.2 * lumpy).abs()
    nasal = p.ellipsoid((0, 66, -66), (14, 28, 17))
    brush.paint("bone", nasal.within(septum - 0.5))
    brush.paint("mucosa", nasal.within(septum - 1.7))
    brush.paint("air", nasal)
    sphenoid = p.ellipsoid((1.5 * person.asymmetry, 26, -48), (13 * s, 11 * s, 9 * s))
    sinuses = [
        pairs.ellipsoid((28, 57, -67), (13 * s, 15 * s, 15 * s)),
        pairs.ellipsoid((11, 79, -15), (12 * s, 4 * s, 9 * s)),
        sphenoid.within(0.7 - (p.x - person.asymmetry).abs()),
    ]
    brush.paint("air", [part.grown(0.8 * lumpy) for part in sinuses])
    ethmoid = pairs.ellipsoid((6, 54, -41), (8, 21, 11))
    brush.paint("air", ethmoid.within(1.2 * person.field("ethmoid", 11, waves=32) - 0.7))
    throat = p.tube([(0, 40, -70), (0, 24, -74), (0, 13, -84), (0, 12, -110)], [9, 9, 8, 8])
    brush.paint("air", throat)
    brush.paint("mucosa", [part.grown(1.5) for part in throat], p.tube([(0, 38, -83), (0, 20, -92)], 3))
    brush.paint("bone", [part.grown(1.4 + 0.8 * lumpy) for part in sinuses], ethmoid, nasal.grown(1.2))

    # Two rows of teeth along a parabola; their roots stand in the bone of the jaws.
    for row, (top, bottom) in enumerate(((-86.0, -94.0), (-95.5, -104.0))):
        for n in range(8):
            x = 3.6 + 6.1 * n - 0.22 * n * n
            y = 80 - 0.031 * x * x - (1.5 if row else 0)
            r = 3.0 if n < 3 else 3.9
            if fillings and n in (5, 6):
                brush.paint("metal", pairs.ellipsoid((x, y, bottom if not row else top), (2.2, 2.2, 2.0)))
            brush.paint("tooth", pairs.tube([(x, y, top), (x, y, bottom)], [r * 0.7, r] if not row else [r, r * 0.7]))
    row = [(0, 80, -86), (16, 73, -86), (28, 57, -86), (32, 44, -86)]
    brush.paint("marrow", pairs.tube([(x, y, -84) for x, y, _ in row], 2.4))
    brush.paint("bone", pairs.tube(row, 4.6), p.ellipsoid((0, 58, -82), (24, 26, 2.2)))
    brush.paint("muscle", p.ellipsoid((0, 46, -98), (24, 30, 15)))  # tongue

    jaw = pairs.ellipsoid((50, 11, -82), (4.6, 15, 27))
    condyle = pairs.tube([(52, 2, -56), (51, 5, -66)], [5.0, 4.0])
    body = pairs.tube([(47, 16, -106), (36, 46, -108), (20, 70, -108), (0, 78, -108)], [7, 8, 8, 9])
    brush.paint("marrow", [part.grown(-2.2) for part in (jaw, *condyle, *body)])
    brush.paint("bone", jaw, condyle, body)
    arch = pairs.tube([(43, 72, -57), (55, 56, -58), (64, 26, -52), (61, 0, -48)], [6, 4.5, 3.2, 3.2])
    brush.paint("marrow", [part.grown(-2.4) for part in arch])
    brush.paint("bone", arch, pairs.ellipsoid((15, 74, -16), (24, 12, 14)))

    spine = [
        *p.tube([(0, -7, -69), (0, -11, -84)], 5),  # dens
        p.ellipsoid((0, -12, -95), (10, 8, 9)),
        *pairs.tube([(0, 0, -74), (13, -5, -74)], 3.6),
        pairs.ellipsoid((20, -14, -74), (8, 9, 8)),
        pairs.ellipsoid((19, -14, -62), (7, 10, 5)),  # condyles of the occiput
        *pairs.tube([(22, -20, -75), (13, -42, -76), (0, -49, -76)], 3.4),
        *pairs.tube([(24, -16, -76), (38, -16, -77)], 3.8),
        *pairs.tube([(14, -20, -92), (12, -38, -93), (0, -52, -94)], [5, 4, 4.5]),
    ]
    brush.paint("marrow", [part.grown(-1.8) for part in spine])
    brush.paint("bone", spine)


# ------------------------------------------------------------------------------------------------ vault and scalp


def skull_of(person: Person, p: Place, cranium: Tensor) -> tuple[Tensor, Tensor]:
    """(distance to the outer table, thickness in mm): thick at forehead and occiput, thin at temples and base."""
    front_back = (p.y / 88).clamp(-1, 1).square_()
    uneven = 0.8 * person.field("skull", 60) + 0.3 * person.field("skull fine", 25)
    squama = torch.exp(-((p.y - 8) / 30).square() - ((p.z + 6) / 26).square()) * (p.x.abs() > 40)
    thickness = person.skull * (0.82 + 0.36 * front_back + 0.13 * uneven - 0.3 * squama)
    thickness = torch.where(p.z < -22, thickness * 0.8, thickness).clamp_(min=1.8)
    return cranium - thickness, thickness


def paint_skull(brush: Brush, person: Person, p: Place, cranium: Tensor) -> Tensor:
    """Two tables with diploe between them, and sutures. Returns the distance to the outer table."""
    outer, thickness = skull_of(person, p, cranium)
    wave = 1.4 * torch.sin(0.9 * p.z + 0.6 * p.x) + 0.8 * torch.sin(2.1 * p.z - 1.3 * p.x)
    coronal = (p.y - 24 + 0.30 * p.x.abs() * 0.6 + wave).abs()
    across = 1.4 * torch.sin(0.9 * p.y) + 0.8 * torch.sin(2.1 * p.y + 1)
    sagittal = torch.maximum((p.x + across).abs(), torch.maximum(p.y - 24, -66 - p.y) + 0.5)
    lambdoid = (p.z - 44 + 0.85 * p.x.abs() + 1.5 * wave).abs() * 0.76 + 10 * (p.y > -40)
    sutures = union(coronal, torch.where(p.z > 20, sagittal, 9.0), lambdoid) - 0.45
    shell = torch.maximum(torch.maximum(outer, -cranium), 8 - p.z)
    brush.paint("mucosa", torch.maximum(sutures, shell))
    grain = 0.5 * person.field("diploe", 6, waves=32)
    diploe = (cranium - thickness * 0.52).abs() - (0.5 * thickness - 1.5 - 0.12 * person.skull * 0.5) + grain
    brush.paint("marrow", torch.maximum(diploe, -26 - p.z))
    brush.paint("bone", outer)
    return outer


def paint_soft_tissue(brush: Brush, person: Person, p: Place, outer: Tensor) -> Tensor:
    """Ears, muscles, glands, fat and skin. Returns the distance to the skin, air cavities included in the body."""
    pairs, uneven = p.pairs, person.field("scalp", 45)
    fat = (person.scalp_fat * (1 + 0.18 * uneven)).clamp_(min=0.8)
    scalp = outer - fat - 2.8 - 1.2 * (p.y < -40) * ((-40 - p.y) / 40).clamp(0, 1)
    face = p.whole(p.ellipsoid((0, 36, -62), (63, 58, 58), reach=30))
    cheeks = p.whole(pairs.ellipsoid((38, 60, -68), (24, 24, 24), reach=14))
    nose = p.whole(p.ellipsoid((0, 94, -62), (10, 13, 17), tilt=0.35, reach=20))
    tip = p.whole(p.ellipsoid((0, 101, -72), (11, 9, 8), reach=14))
    chin = p.whole(p.ellipsoid((0, 68, -108), (32, 28, 22), reach=20))
    neck = p.whole(p.ellipsoid((0, -14, -120), (56, 62, 76), reach=30))
    brow = p.whole(pairs.ellipsoid((20, 65, -22), (37, 24, 23), reach=14))
    sides = p.whole(pairs.ellipsoid((46, -18, -50), (27, 38, 32), reach=14))
    temples = p.whole(pairs.ellipsoid((56, 30, -20), (16, 30, 34), reach=14))
    lower = smooth_union(smooth_union(smooth_union(nose, tip, 6), chin, 10), neck, 16)
    head = smooth_union(smooth_union(scalp, smooth_union(face, cheeks, 10), 14), lower, 12)
    head = smooth_union(smooth_union(smooth_union(head, temples, 10), brow, 8), sides, 10)
    rim = [(74, -8, -56), (75, -4, -44), (78, -8, -30), (82, -20, -26), (84, -30, -34), (80, -27, -50), (75, -16, -62)]
    ear = [*pairs.tube([*rim, rim[0]], 2.4), pairs.ellipsoid((77, -17, -44), (2.6, 11, 17), tilt=0.2)]
    for part in ear:
        head[part.box] = torch.minimum(head[part.box], part.distance)

    brush.paint("gland", pairs.ellipsoid((60, -4, -74), (9, 14, 19)), pairs.ellipsoid((32, 26, -104), (8, 13, 8)))
    muscles = [
        pairs.ellipsoid((65, 18, -14), (9, 34, 42)),  # temporal
        pairs.ellipsoid((58, 20, -82), (8, 16, 26)),  # masseter
        pairs.ellipsoid((39, 20, -70), (9, 15, 22)),  # pterygoid
        pairs.ellipsoid((14, -62, -88), (12, 14, 34)),  # nape, inner and outer
        pairs.ellipsoid((38, -52, -88), (13, 15, 32)),
        *pairs.tube([(58, -34, -58), (52, -20, -110)], 7),
        pairs.ellipsoid((9, 4, -92), (8, 5, 26)),
        p.ellipsoid((0, 90, -92), (24, 7, 11)),  # lips
        pairs.ellipsoid((32, 87, -41), (20, 5, 13)),  # lids
    ]
    under_skin = head + 2.2 + 0.55 * fat
    brush.paint("muscle", [part.grown(0.8 * uneven).within(under_skin) for part in muscles])
    galea = torch.maximum(torch.maximum(outer - 1.4, head + 2.0), -20 - p.z)
    brush.paint("muscle", galea)
    brush.paint("fat", head + 1.8)
    brush.paint("skin", head)
    return head
