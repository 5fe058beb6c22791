"""The slices that a network is trained on: cut once, kept small, on disk mapped into memory."""

from __future__ import annotations

import hashlib
import json
import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor, distributed

from mrctlib.data.cohorts import Case
from mrctlib.data.volumes import Volume, axial_slabs, mr_range, normalise_ct, resample, scaled_mr
from mrctlib.runtime import (
    InputError,
    cpus_allowed,
    digest,
    processes,
    progress,
    resident,
    rows,
    to_device,
    whole_file,
    whole_folder,
)

MIN_BODY_SHARE = 0.05  # slices with less body than this teach nothing but background
FULL = 32767  # an image at 1, as it is stored: in steps of 0.04 HU
DEPTH_STEP = 0.4  # mm, of depths as they are stored, up to 102 mm; an eighth of a layer of the typical body
INDEX, LITTLE, FORMAT = "index.json", "little.safetensors", 1


@dataclass(frozen=True)
class SliceSet:
    """Axial slices of one modality, normalised, as 3 bytes a pixel, from which `images` and `depths` are made at need.

    stored_images: (N, 1, size, size) int16, rows along R, columns along A; stored_depths: the same shape, uint8;
    heights: (N,) from 0 (lowest slice with body) to 1 (highest) in its own patient; tally: what `typical_body` needs;
    about: one dictionary (JSON) for each patient, see `slice_set`; mapped: the files where the stored ones lie.
    """

    stored_images: Tensor
    stored_depths: Tensor
    heights: Tensor
    tally: Tensor
    about: tuple[dict, ...] = ()
    mapped: tuple[mmap.mmap, ...] = ()

    @classmethod
    def of(cls, images: Tensor, depths: Tensor, heights: Tensor) -> SliceSet:
        """From images in [-1, 1] and depths in mm. A pixel of the body stays one."""
        steps = torch.maximum((depths / DEPTH_STEP).round(), (depths > 0).float()).clamp(max=255)
        stored = (images.clamp(-1, 1) * FULL).round().to(torch.int16), steps.to(torch.uint8)
        return cls(*stored, heights, tally(images, steps * DEPTH_STEP, heights))

    @property
    def images(self) -> Tensor:
        """(N, 1, size, size) float32 in [-1, 1]."""
        return self.stored_images.float() / FULL

    @property
    def depths(self) -> Tensor:
        """(N, 1, size, size) float32, mm below the surface of the body in the slice, 0 outside."""
        return self.stored_depths.float() * DEPTH_STEP

    @property
    def masks(self) -> Tensor:
        """The body: bool, the shape of `images`."""
        return self.stored_depths > 0

    def __len__(self) -> int:
        return len(self.heights)

    def take(self, index: Tensor, device: torch.device) -> SliceSet:
        """Some of the slices, on a device."""
        names = ("stored_images", "stored_depths", "heights")
        taken = replace(self, **{name: rows(getattr(self, name), index, device) for name in names}, mapped=())
        for file in self.mapped:  # else all that was ever taken would stay in the memory of this process
            if hasattr(mmap, "MADV_DONTNEED"):
                file.madvise(mmap.MADV_DONTNEED)
        return taken

    def resident(self, device: torch.device) -> SliceSet:
        """On a GPU as far as they fit, see `runtime.resident`."""
        stored = {name: resident(getattr(self, name), device) for name in ("stored_images", "stored_depths")}
        return replace(self, **stored)


def slice_set(
    cases: Sequence[Case], modality: str, spacing: float, size: int,
    describe: Callable[[Volume, np.ndarray], dict] = lambda volume, body: {}, cache: Path | None = None,
    started: bool = False,
) -> SliceSet:  # fmt: skip
    """All axial slices of "mr" or "ct" with at least 5% body, at `spacing` mm, cut or padded to `size` about the body.

    Of each patient `about` holds the name, digests of the voxels as they were read and of the depths, how many mm the
    body is `across`, and what `describe` says. cache: a folder for the slices, made by one process and mapped into the
    memory of all; they are cut again where a file of the cases has changed, unless a training has `started` on them.

    Raises:
        InputError: no cases, no slice with enough body, a training has started on other slices, or see `Case`.
    """
    if not cases:
        raise InputError(f"no {modality.upper()} to learn from: no case has a {modality}.nii.gz")
    parts = _cut_all(cases, modality, spacing, size, describe)
    if cache is None:
        slices = _joined(list(parts))
    else:
        process, count = processes()
        if process == 0:
            before = _index(cache)
            made = {"format": FORMAT, "modality": modality, "spacing": spacing, "size": size}
            now = {"made": made, "sources": _sources(cases, modality, before.get("sources", {}))}
            if not _same(before, now):
                if started and before:
                    wrong = "is of another training (other cases or files, or their size)"
                    raise InputError(f"{cache}: {wrong}; name another folder")
                _write(cache, parts, now)
        if count > 1:
            distributed.barrier()
        slices = _read(cache, size)
    if not len(slices):
        raise InputError(f"no slice of {modality.upper()} has {MIN_BODY_SHARE:.0%} body in it; are the masks right?")
    wide = [patient["name"] for patient in slices.about if patient["across"] > spacing * size]
    if wide:
        most = max(patient["across"] for patient in slices.about)
        told = f"{modality}: {len(wide)} of {len(cases)} bodies ({wide[0]} ...) are up to {most:.0f} mm across"
        rest = f"what lies outside the {spacing * size:.0f} mm of a slice is not learned from"
        print(f"{told}; {rest}: crop the images, or train with larger slices", file=sys.stderr)
    return slices


def _cut_all(cases: Sequence[Case], *how: Any) -> Iterator[SliceSet]:
    """The slices of one patient after the other; as many are cut at a time as there are CPUs."""
    count = cpus_allowed()
    with ThreadPoolExecutor(count) as pool, progress(cases, f"cutting {how[0]}", unit="case") as bar:
        for start in range(0, len(cases), count):
            for part in pool.map(lambda case: _cut(case, *how), cases[start : start + count]):
                bar.update()
                yield part


def _cut(case: Case, modality: str, spacing: float, size: int, describe: Callable) -> SliceSet:
    """The slices of one patient."""
    volume = case.volume(modality)
    try:
        body = case.body(volume, modality)
        images, masks = scaled_stack(volume, body, modality, spacing, str(case.folder))
        middle, extent = body_window(masks)
        told = {"name": case.name, "digest": digest(torch.from_numpy(volume.data)), "across": extent * spacing}
        told |= describe(volume, body)
    except InputError as error:
        raise InputError(str(error) if str(case.folder) in str(error) else f"{case.folder}: {error}") from error
    filled = masks.flatten(1).float().mean(1)
    with_body = torch.nonzero(filled > 0).flatten()
    low, high = int(with_body[0]), int(with_body[-1])
    heights = (torch.arange(len(masks)) - low) / max(high - low, 1)
    keep = filled >= MIN_BODY_SHARE
    images = cut_about(images[keep], middle, size, fill=-1.0)
    depths = cut_about(depth_below_surface(masks[keep], spacing), middle, size, fill=0.0)
    part = SliceSet.of(images, depths, heights[keep])
    return replace(part, about=(told | {"body": digest(part.stored_depths)},))


def _joined(parts: Sequence[SliceSet]) -> SliceSet:
    """Those of several patients as one set."""
    names = ("stored_images", "stored_depths", "heights")
    columns = [torch.cat([getattr(part, name) for part in parts]) for name in names]
    return SliceSet(*columns, sum(part.tally for part in parts), tuple(part.about[0] for part in parts))


# ---------------------------------------------------------------------------------------------------- the cache


def _index(cache: Path) -> dict[str, Any]:
    """What a cache says of itself; nothing where there is none."""
    with suppress(OSError, ValueError):
        return json.loads((cache / INDEX).read_text("utf-8"))
    return {}


def _sources(cases: Sequence[Case], modality: str, before: dict[str, dict]) -> dict[str, dict]:
    """Each file's digest, its bytes and its time; it is read again only where one of these is another than `before`."""
    sources = {}
    for case in cases:
        for path in filter(None, (case.path(modality), case.path("mask"))):
            stat, name = path.stat(), f"{case.name}/{path.name}"
            stamp, kept = {"bytes": stat.st_size, "time": stat.st_mtime_ns}, before.get(name, {})
            if stamp.items() <= kept.items():
                sources[name] = kept
                continue
            with open(path, "rb") as file:
                sources[name] = stamp | {"digest": hashlib.file_digest(file, "sha256").hexdigest()}
    return sources


def _same(one: dict, other: dict) -> bool:
    """Whether two indices are of slices that were cut in the same way from files of the same content."""
    told = [(i.get("made"), [(n, s["digest"]) for n, s in i.get("sources", {}).items()]) for i in (one, other)]
    return told[0] == told[1]


def _write(cache: Path, parts: Iterator[SliceSet], index: dict[str, Any]) -> None:
    """Write a cache, patient by patient."""
    little = []
    with whole_folder(cache) as part:
        with closing(parts), open(part / "images", "wb") as images, open(part / "depths", "wb") as depths:
            for slices in parts:
                images.write(slices.stored_images.numpy())
                depths.write(slices.stored_depths.numpy())
                little.append(replace(slices, stored_images=torch.empty(0), stored_depths=torch.empty(0)))
        rest = _joined(little)
        with whole_file(part / LITTLE) as file:  # else its owner alone might read it
            save_file({"heights": rest.heights, "tally": rest.tally}, file)
        (part / INDEX).write_text(json.dumps(index | {"about": rest.about}), "utf-8")


def _read(cache: Path, size: int) -> SliceSet:
    stored, files = [], []
    for name, kind in (("images", torch.int16), ("depths", torch.uint8)):
        with open(cache / name, "rb") as file:
            files.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        stored.append(torch.frombuffer(files[-1], dtype=kind).reshape(-1, 1, size, size))
    return SliceSet(*stored, **load_file(cache / LITTLE), about=tuple(_index(cache)["about"]), mapped=tuple(files))


# ---------------------------------------------------------------------------------------------------- geometry


def to_stack(volume: Volume, spacing: float) -> tuple[Tensor, Volume]:
    """(axial slices as (S, 1, R, A), the volume they are of): resampled in the plane to `spacing` mm, not along S."""
    plane = resample(volume, (spacing, spacing, volume.spacing[2]))
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(plane.data, 2, 0)))[:, None], plane


def scaled_stack(
    volume: Volume, body: np.ndarray, modality: str, spacing: float, name: str | None
) -> tuple[Tensor, Tensor]:
    """(axial slices of an MR or a CT in [-1, 1], where they hold body), both as `to_stack` has them, a few at a time.

    Raises:
        InputError: see `mr_range`, which is told the name.
    """
    scaled = normalise_ct
    if modality == "mr":
        low, top = mr_range(volume.data, body, name)
        scaled = partial(scaled_mr, low=low, top=top)
    slabs = [
        (to_stack(few.like(scaled(few.data, inside.data)), spacing)[0], to_stack(inside, spacing)[0] > 0.5)
        for _, few, inside in axial_slabs(volume, body)
    ]
    images, masks = (torch.cat(column) for column in zip(*slabs, strict=True))
    return images, masks


def depth_below_surface(masks: Tensor, spacing: float) -> Tensor:
    """(N, 1, H, W) bool to float: mm from each pixel of the body to the nearest outside it or the picture."""
    depths = np.empty(masks.shape, np.float32)
    for depth, mask in zip(depths[:, 0], masks[:, 0].numpy(), strict=True):
        depth[:] = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] * spacing
    return torch.from_numpy(depths)


def body_window(masks: Tensor) -> tuple[tuple[int, int], int]:
    """((row, column) in the middle of the body in any slice of (N, 1, H, W), its larger extent in pixels).

    Raises:
        InputError: there is no body.
    """
    if not masks.any():
        raise InputError("the body covers no pixel of the slices; are the mask and the size of the voxels (mm) right?")
    spans = [torch.nonzero(masks.any(0)[0].any(1 - axis)).flatten() for axis in (0, 1)]
    middle = tuple(int(span[0] + span[-1] + 1) // 2 for span in spans)
    return middle, max(int(span[-1] - span[0]) + 1 for span in spans)


def cut_about(stack: Tensor, middle: Sequence[int], size: int, fill: float) -> Tensor:
    """A (N, 1, size, size) window of (N, 1, H, W) with `middle` = (row, column) at its centre, padded with `fill`."""
    top, left = (centre - size // 2 for centre in middle)
    bottom, right = top + size - stack.shape[2], left + size - stack.shape[3]
    return F.pad(stack, (-left, right, -top, bottom), value=fill)  # a negative pad cuts


def paste_about(window: Tensor, middle: Sequence[int], shape: Sequence[int], fill: float) -> Tensor:
    """The inverse of `cut_about`: the window back in its place in (N, 1, *shape), `fill` around it."""
    size = window.shape[-1]
    top, left = (centre - size // 2 for centre in middle)
    return F.pad(window, (left, shape[1] - left - size, top, shape[0] - top - size), value=fill)


def unpaired_batch(
    mr: SliceSet, ct: SliceSet, size: int, generator: torch.Generator, *, matched: bool = True
) -> tuple[Tensor, Tensor]:
    """Indices (into MR, into CT) of a batch of `size` slices that were never a pair.

    matched: draw each CT slice from the same relative height as its MR slice (within 3%, or else the nearest), so that
    a batch compares eyes with eyes; otherwise from anywhere.

    Raises:
        InputError: fewer slices than a batch.
    """
    if min(len(mr), len(ct)) < size:
        raise InputError(f"{len(mr)} MR and {len(ct)} CT slices are fewer than a batch of {size}: add cases")
    i = torch.randperm(len(mr), generator=generator)[:size]
    if not matched:
        return i, torch.randperm(len(ct), generator=generator)[:size]
    distance = (mr.heights[i][:, None] - ct.heights[None]).abs()
    near = (distance <= torch.clamp(distance.amin(1, keepdim=True), min=0.03)).float()
    return i, torch.multinomial(near, 1, generator=generator)[:, 0]


def mirrored(together: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Mirror right and left in half of the images; the named (N, 1, R, A) tensors turn together."""
    first = next(iter(together.values()))
    coin = to_device(torch.rand(len(first), 1, 1, 1, generator=generator), first.device) < 0.5
    return {name: torch.where(coin, images.flip(2), images) for name, images in together.items()}


# ---------------------------------------------------------------------------------------------------- the typical body

DEPTH_BIN_MM, DEPTH_BINS, SECTORS, HEIGHT_BINS = 3.2, 25, 12, 20
CELLS = SECTORS * DEPTH_BINS


def typical_body(slices: SliceSet) -> Tensor:
    """Mean intensity by relative height and by cell (see `cells`), (HEIGHT_BINS, CELLS).

    It knows the population and no patient: a baseline that a translation must beat, and a target for its averages.
    """
    total, count = slices.tally
    table = (total / count).float().reshape(HEIGHT_BINS, SECTORS, DEPTH_BINS)
    for depth in range(1, DEPTH_BINS):  # deeper than anybody is there: go on as one step less deep
        table[..., depth] = torch.where(table[..., depth].isnan(), table[..., depth - 1], table[..., depth])
    return table.nan_to_num(-1.0).reshape(HEIGHT_BINS, CELLS)


def tally(images: Tensor, depths: Tensor, heights: Tensor) -> Tensor:
    """(2, HEIGHT_BINS * CELLS): the sum of the intensities in each cell of each height, and of how many pixels."""
    sums = torch.zeros(2, HEIGHT_BINS * CELLS, dtype=torch.double)
    for image, depth, height in zip(*(t.split(64) for t in (images, depths, heights)), strict=True):
        body = depth > 0  # a few slices at a time: in 64 bits all of them may need more memory than there is
        index = (height_bins(height) * CELLS + cells(depth))[body]
        sums[0].index_add_(0, index, image[body].double())
        sums[1] += torch.bincount(index, minlength=sums.shape[1])
    return sums


def draw_typical(table: Tensor, heights: Tensor, depths: Tensor) -> Tensor:
    """The typical image for bodies of these (N,) heights and (N, 1, H, W) depths; -1 outside the body."""
    columns = cells(depths)
    return torch.where(depths > 0, table[height_bins(heights).expand_as(columns), columns], -1.0)


def height_bins(heights: Tensor) -> Tensor:
    """(N,) relative heights to (N, 1, 1, 1) bin numbers."""
    return (heights * HEIGHT_BINS).long().clamp(0, HEIGHT_BINS - 1)[:, None, None, None]


def cells(depths: Tensor) -> Tensor:
    """(N, 1, H, W) depths in mm to cell numbers: which 3.2 mm layer below the skin, in which of 12 directions.

    Directions go from the front to the back as seen from the middle of the window; right and left count alike.
    """
    side = torch.linspace(-1, 1, depths.shape[2], device=depths.device).abs()[:, None]
    front = torch.linspace(-1, 1, depths.shape[3], device=depths.device)[None]
    sector = (torch.atan2(side, front) / torch.pi * SECTORS).long().clamp(max=SECTORS - 1)
    return sector * DEPTH_BINS + (depths / DEPTH_BIN_MM).long().clamp(0, DEPTH_BINS - 1)
