"""Stained tissue, 96 x 96: PatchCamelyon where it can be found, else drawn patches with the same rule for the label.

PatchCamelyon (PCam; Veeling et al. 2018, from Camelyon16, Ehteshami Bejnordi et al. 2017; CC0) has 327,680 patches of
lymph nodes. A patch is positive if tumour lies in its central 32 x 32 pixels; tumour elsewhere does not count. It is
too large to download unasked: fetch the six `.h5.gz` files from Zenodo (doi 10.5281/zenodo.2546921, or as the authors'
github.com/basveeling/pcam says), unpack them into `pcam/` of the folder that `MRCT_DATA` names, and they are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from mrctlib.course.sources import RemoteFile, find_files
from mrctlib.runtime import InputError, derive_seed

SIZE = 96  # pixels; about 0.97 micrometres each in PCam
CENTRE = slice(32, 64)  # rows and columns that decide the label
PARTS = ("train", "valid", "test")
PCAM = [RemoteFile(f"pcam/camelyonpatch_level_2_split_{part}_{what}.h5") for part in PARTS for what in "xy"]

# How much haematoxylin (blue, binds to nuclei) and eosin (pink, binds to the rest) absorb of red, green and blue.
# Ruifrok and Johnston 2001.
STAINS = torch.tensor([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])


@dataclass(frozen=True)
class Patches:
    """Images (N, 3, 96, 96), uint8, and classes (N,), 1 for tumour in the centre.

    slides (N,) says which slide each comes from, tumour (N, 96, 96) where the tumour is; None where nobody knows.
    """

    images: Tensor
    classes: Tensor
    slides: Tensor | None = None
    tumour: Tensor | None = None

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, chosen: Tensor) -> Patches:
        """Those that a mask or index (M,) chooses."""
        return Patches(*(None if part is None else part[chosen] for part in vars(self).values()))


@dataclass(frozen=True)
class Histology:
    """Patches to train on, to decide with and to test on; `source` says which set they are."""

    train: Patches
    valid: Patches
    test: Patches
    source: str


def load_histology(limit: int = 2000, seed: int = 0) -> Histology:
    """At most `limit` random patches of each part of PCam where `find_files` finds it, else drawn ones (all of them).

    Raises:
        InputError: `MRCT_DATA` names no folder, or a file in it is damaged.
    """
    folder = find_files("PCam", PCAM)
    if folder is None:
        return drawn_histology(seed)
    parts = [_read_pcam(folder / "pcam", part, limit, seed) for part in PARTS]
    counts = ", ".join(f"{len(patches):,} {part}" for part, patches in zip(PARTS, parts, strict=True))
    return Histology(*parts, source=f"PatchCamelyon (Veeling et al. 2018), {counts}")


def _read_pcam(folder: Path, part: str, limit: int, seed: int) -> Patches:
    """The chosen rows alone, so that the full set (8 GB unpacked) never has to fit into memory."""
    path = folder / f"camelyonpatch_level_2_split_{part}_x.h5"
    label_path = path.with_name(path.name.replace("_x", "_y"))
    try:
        with h5py.File(path) as images, h5py.File(label_path) as classes:
            count = len(classes["y"])
            if images["x"].shape != (count, SIZE, SIZE, 3):
                raise InputError(f"{path}: has shape {images['x'].shape} for {count} labels; unpack both files again")
            chosen = np.sort(np.random.default_rng(derive_seed(seed, part)).permutation(count)[:limit])
            x, y = images["x"][chosen], classes["y"][:].reshape(count)[chosen]
    except (OSError, KeyError) as error:
        raise InputError(f"{path} or its labels: no whole file of PCam ({error}); unpack it again") from error
    return Patches(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y).long())


# ---------------------------------------------------------------------------------------------------- light and stain


def optical_density(images: Tensor) -> Tensor:
    """Light let through, (N, 3, H, W) from 0 to 1, to absorbance: 0 for white, 1 where a tenth of the light is left."""
    return -images.clamp(min=1 / 255).log10()


def beer_lambert(amounts: Tensor, stains: Tensor = STAINS) -> Tensor:
    """Amounts of S stains (N, S, H, W) to the light (N, 3, H, W) that they let through, 0 to 1.

    Absorbances add up, light is multiplied (Beer and Lambert). stains: (S, 3), absorbance of one unit of each.
    """
    return 10 ** -torch.einsum("nshw,sc->nchw", amounts, stains)


def stain_amounts(images: Tensor, stains: Tensor = STAINS) -> Tensor:
    """The reverse of `beer_lambert` for two stains: images (N, 3, H, W) to amounts (N, 3, H, W).

    The third amount is that of what neither stain explains, along the direction at right angles to both (Ruifrok and
    Johnston 2001), so that nothing is lost: `beer_lambert(amounts, complete(stains))` gives the image back.
    """
    return torch.einsum("nchw,cs->nshw", optical_density(images), torch.linalg.inv(complete(stains)).to(images))


def complete(stains: Tensor = STAINS) -> Tensor:
    """Two stains (2, 3) and a third direction, at right angles to both: (3, 3)."""
    rest = torch.linalg.cross(stains[0], stains[1])
    return torch.stack([*stains, rest / rest.norm()])


# ---------------------------------------------------------------------------------------------------- drawn patches

SLIDES, PER_SLIDE = 36, 40
TRAIN_SLIDES, VALID_SLIDES = 20, 6  # the other 10 are the test; every third slide of each part is free of tumour
FRAME = 12  # pixels around a patch, so that nuclei at its edge can be painted whole
SPACING = 8  # pixels from nucleus to nucleus where all places are taken: the same in tumour, or it would give it away
KINDS = (0.2, 0.3, 0.5)  # share of patches with no tumour, with tumour off the centre only, with tumour in the centre


def drawn_histology(seed: int = 0) -> Histology:
    """Drawn patches of 36 slides, split by slide: 800 to train on, 240 to decide with, 400 to test on."""
    patches = draw_patches(seed)
    bounds = (0, TRAIN_SLIDES, TRAIN_SLIDES + VALID_SLIDES, SLIDES)
    parts = [
        patches[(patches.slides >= first) & (patches.slides < end)]
        for first, end in zip(bounds, bounds[1:], strict=False)
    ]
    counts = ", ".join(f"{len(part):,} {name}" for name, part in zip(PARTS, parts, strict=True))
    return Histology(*parts, source=f"drawn histology, {SLIDES} slides, {counts}")


def draw_patches(seed: int = 0, slides: int = SLIDES, per_slide: int = PER_SLIDE) -> Patches:
    """Patches of several slides, with the slide of each and the mask of its tumour. The same seed, the same patches."""
    drawn = [draw_slide(seed, number, per_slide) for number in range(slides)]
    images, tumour = (torch.from_numpy(np.concatenate(part)) for part in zip(*drawn, strict=True))
    classes = tumour[:, CENTRE, CENTRE].flatten(1).any(1).long()
    return Patches(images, classes, torch.arange(slides).repeat_interleave(per_slide), tumour)


def draw_slide(seed: int, number: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` patches of one slide: images (count, 3, 96, 96) uint8 and masks of tumour (count, 96, 96).

    Every third slide is free of tumour. Each has a stain, a sharpness and a noise of its own, as laboratories do, and
    nuclei of its own size. Tumour differs in size, shape and number of nuclei, and not by much in any of them.
    """
    rng = np.random.default_rng(derive_seed(seed, "slide", number))
    diseased = number % 3 != 0
    tumour = _tumour_regions(rng, count) & diseased
    shape = (count, SIZE, SIZE)

    nuclei = np.zeros((count, SIZE + 2 * FRAME, SIZE + 2 * FRAME), np.float32)
    density, size = rng.uniform(0.1, 1, (count, 1)), rng.uniform(0.8, 1.25)  # of this slide's nuclei
    _paint_nuclei(nuclei, rng, ~tumour, density, (2.8 * size, 4.0 * size), stretch=0.25, wobble=0.03)
    crowded = np.full((count, 1), 0.75)
    _paint_nuclei(nuclei, rng, tumour, crowded, (3.1 * size, 4.6 * size), stretch=0.35, wobble=0.1)
    nuclei *= np.exp(rng.normal(0, 0.2, (count, 1, 1))).astype(np.float32)  # thicker here, thinner there
    nuclei = nuclei[:, FRAME:-FRAME, FRAME:-FRAME]
    chromatin = 1 + 0.25 * _smooth_noise(rng, shape, 0.8)
    fibres = 1 + 0.35 * _smooth_noise(rng, shape, rng.permutation((1, 5))) + 0.25 * _smooth_noise(rng, shape, 8)
    haematoxylin = nuclei * chromatin + 0.06
    eosin = 0.26 * np.clip(fibres, 0.2, None) * (1 - 0.5 * nuclei)
    tissue = ~_fat(rng, count)
    amounts = np.stack([haematoxylin * tissue, eosin * tissue], axis=1) + 0.02

    strength = torch.from_numpy(rng.normal(0, 0.2, (2, 1))).float().exp()
    stains = (STAINS + torch.from_numpy(rng.normal(0, 0.05, (2, 3))).float()).clamp(min=0.02) * strength
    light = beer_lambert(torch.from_numpy(amounts), stains).numpy()
    light = gaussian_filter(light, (0, 0, *[rng.uniform(0.4, 0.9)] * 2)) * rng.uniform(0.9, 1)
    light += 0.015 * rng.standard_normal(light.shape, np.float32)
    return (255 * light.clip(0, 1)).round().astype(np.uint8), tumour


def _tumour_regions(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 96, 96): an uneven disc in the middle, two that stay clear of the central square, or nothing."""
    kind = rng.choice(3, count, p=KINDS)[:, None, None]
    uneven = 1 + 0.1 * _smooth_noise(rng, (count, SIZE, SIZE), 6).clip(-2, 2)
    rows, columns = _from_the_middle()

    def disc(distance: np.ndarray, angle: np.ndarray, radius: np.ndarray) -> np.ndarray:
        away = np.hypot(rows - distance * np.sin(angle), columns - distance * np.cos(angle))
        return away < radius * uneven

    def drawn(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    angle = drawn(0, 2 * np.pi)
    middle = disc(drawn(0, 16), angle, drawn(14, 40))
    clear = (CENTRE.stop - CENTRE.start) / 2 * 2**0.5 + 4  # from the middle to beyond a corner of the square
    distance = drawn(45, 60)
    off = disc(distance, angle, (distance - clear) / 1.2)
    distance = drawn(45, 60)
    off |= disc(distance, angle + drawn(1.5, 4.5), (distance - clear) / 1.2)
    return (kind == 2) & middle | (kind == 1) & off


def _paint_nuclei(
    canvas: np.ndarray, rng: np.random.Generator, where: np.ndarray, density: np.ndarray,
    radius: tuple[float, float], *, stretch: float, wobble: float,
) -> None:  # fmt: skip
    """Put nuclei on a shaken grid: ellipses with a wavy outline, inside `where`, each place taken with p = density.

    canvas of haematoxylin, (count, 96 + 2 FRAME, 96 + 2 FRAME), is changed in place; density (count, 1); radius from
    and to, in pixels.
    """
    count, _, width = canvas.shape
    grid = np.stack(np.mgrid[: SIZE + SPACING : SPACING, : SIZE + SPACING : SPACING], -1).reshape(1, -1, 2)
    places = (grid + rng.uniform(-0.35, 0.35, (count, grid.shape[1], 2)) * SPACING).clip(0, SIZE - 1)
    nearest = places.round().astype(int)
    patch = np.broadcast_to(np.arange(count)[:, None], places.shape[:2])
    taken = where[patch, nearest[..., 0], nearest[..., 1]] & (rng.random(patch.shape) < density)
    patch, places, nearest = patch[taken], places[taken], nearest[taken]

    def drawn(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (len(patch), 1, 1)).astype(np.float32)

    reach = int(np.ceil(radius[1] * np.exp(stretch / 2) * (1 + wobble)))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    rest = (nearest - places).astype(np.float32)
    down, right = rows.astype(np.float32) + rest[:, 0, None, None], columns.astype(np.float32) + rest[:, 1, None, None]
    turn, longer = drawn(0, np.pi), np.exp(drawn(-stretch, stretch) / 2)
    u = (np.cos(turn) * right + np.sin(turn) * down) * longer
    v = (np.cos(turn) * down - np.sin(turn) * right) / longer
    outline = drawn(*radius) * (1 + wobble * np.cos(3 * np.arctan2(v, u) + drawn(0, 2 * np.pi)))
    amount = 0.8 * drawn(0.7, 1.2) * np.clip(outline - np.hypot(u, v) + 0.5, 0, 1)

    middle = (patch * width + nearest[:, 0] + FRAME) * width + nearest[:, 1] + FRAME
    pixels = middle[:, None, None] + rows * width + columns
    np.maximum.at(canvas.reshape(-1), pixels.reshape(-1), amount.reshape(-1))  # where two overlap, the darker one


def _fat(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 96, 96): a round hole near the edge of every fourth patch, white on the slide."""
    rows, columns = _from_the_middle()
    angle, radius = (rng.uniform(*range_, (count, 1, 1)).astype(np.float32) for range_ in ((0, 2 * np.pi), (8, 24)))
    hole = np.hypot(rows - 48 * np.sin(angle), columns - 48 * np.cos(angle)) < radius
    return hole & (rng.random((count, 1, 1)) < 0.25)


def _from_the_middle() -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel lies below and to the right of the middle of a patch, two (96, 96)."""
    return tuple((np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2).astype(np.float32))


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], width: float | tuple[float, float]) -> np.ndarray:
    """Noise of mean 0 and standard deviation 1 that changes over `width` pixels (rows, columns)."""
    noise = gaussian_filter(rng.standard_normal(shape, np.float32), (0, *np.broadcast_to(width, 2)), mode="wrap")
    return noise / noise.std()
