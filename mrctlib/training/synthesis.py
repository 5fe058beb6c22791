"""The road back: from a trained generator to a synthetic CT volume on the patient's own grid."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from mrctlib.data.plausible import describe, unlike
from mrctlib.data.slices import body_window, cut_about, paste_about, to_stack
from mrctlib.data.volumes import Volume, axial_slabs, denormalise_ct, mr_range, resample_like, scaled_mr
from mrctlib.runtime import InputError, digest, lowered, tier
from mrctlib.training.checkpoints import CHECKPOINT, under
from mrctlib.training.recipe import Recipe, build_generator
from mrctlib.training.translation import read_run

PIXELS = 2**17  # that are translated at once: 8 slices of 128 x 128, 2 of 256 x 256


def load_generator(run: str | Path) -> tuple[nn.Module, Recipe, dict[str, Any]]:
    """(the averaged MR-to-CT generator of a run on this machine's device, its recipe, what its training said of it).

    Raises:
        InputError: no checkpoint in `run`, or one that does not fit its own recipe.
    """
    tensors, about, recipe = read_run(run)
    try:
        generator = build_generator(recipe)
        generator.load_state_dict(under(tensors, "averaged"))
    except (RuntimeError, KeyError, TypeError) as error:
        wrong = f"the weights do not fit its architecture ({recipe.generator}); train again"
        raise InputError(f"{Path(run) / CHECKPOINT}: {wrong}") from error
    return generator.to(tier().device).eval().requires_grad_(False), recipe, about


@dataclass(frozen=True)
class Trained:
    """The patients that a run was trained on: what they are called, and digests of their images."""

    names: frozenset[str]
    digests: frozenset[str]

    @classmethod
    def of(cls, about: dict[str, Any]) -> Trained:
        """From what a training said about itself; nobody where its slices came from no files."""
        kinds = about["belongs_to"].get("patients", {}).values()
        patients = [p for kind in kinds if isinstance(kind["patients"], list) for p in kind["patients"]]
        return cls(frozenset(p["name"] for p in patients), frozenset(p["digest"] for p in patients))

    def saw(self, image: Volume) -> bool:
        return digest(torch.from_numpy(image.data)) in self.digests


@torch.no_grad()
def synthesize(
    generator: nn.Module, mr: Volume, body: np.ndarray, recipe: Recipe, typical: dict | None = None,
    name: str = "this MR",
) -> Volume:  # fmt: skip
    """A synthetic CT in HU on the grid of `mr`, slice by slice, each also in the mirror, and the two averaged.

    body: (R, A, S) bool; outside it the result is air. The slices have the size of the training, or more where the body
    needs it: instance normalisation sees the whole slice, so it should hold as much air as it did in training.
    typical: of the MRs of the training, as its checkpoint notes it; in what this one, called `name`, is unlike them is
    printed as warnings. Beside what it is given it takes one copy of the volume, the result.

    Raises:
        InputError: the mask is empty, the MR constant, or the network gave NaN.
    """
    for warning in unlike(describe(mr, body), typical) if typical else ():
        tqdm.write(f"{name}: {warning}", file=sys.stderr)
    device, spacing = next(generator.parameters()).device, recipe.spacing
    shown = mr_range(mr.data, body, name)
    covered = [(to_stack(inside, spacing)[0] > 0.5).any(0) for _, _, inside in axial_slabs(mr, body)]
    middle, extent = body_window(torch.stack(covered))
    grain = 2**recipe.depth if recipe.generator == "unet" else 4  # generators halve the size so many times
    size = max(recipe.size, -(-extent // grain) * grain)
    hu = np.empty(mr.data.shape, np.float32)
    for part, image, inside in axial_slabs(mr, body):
        stack, plane = to_stack(image.like(scaled_mr(image.data, inside.data, *shown)), spacing)
        windows = cut_about(stack, middle, size, fill=-1.0).split(max(1, PIXELS // size**2))
        fake = torch.cat([_both_ways(lowered(generator), few.to(device)).cpu() for few in windows])
        if not torch.isfinite(fake).all():
            raise InputError("the network gave NaN or infinite values: its training diverged; train again")
        fake = paste_about(fake, middle, stack.shape[-2:], fill=-1.0)
        hu[..., part] = denormalise_ct(_back_within(plane.like(_volume(fake)), image, inside, spacing), inside.data)
    return mr.like(hu)


def _volume(stack: Tensor) -> np.ndarray:
    return np.moveaxis(stack[:, 0].numpy(), 0, 2)


def _back_within(plane: Volume, image: Volume, inside: Volume, spacing: float) -> np.ndarray:
    """Slices back on the grid of `image`, interpolated between voxels of the body alone.

    Plain interpolation would mix the skin with the air beside it, over the width of a training pixel: an error of
    hundreds of HU in a shell that holds a good part of a head. So both the image and the body's share of it are
    resampled, and divided.
    """
    body = _volume((to_stack(inside, spacing)[0] > 0.5).float())
    share = resample_like(plane.like(body), image, fill=0.0).data
    shown = resample_like(plane.like(plane.data * body), image, fill=0.0).data
    return np.where(share > 0.02, shown / np.maximum(share, 0.02), -1.0).astype(np.float32)


def _both_ways(generator: nn.Module, part: Tensor) -> Tensor:
    """What the generator makes of slices: the mean with what it makes of their mirror images."""
    plain, turned = generator(torch.cat([part, part.flip(2)])).chunk(2)
    return (plain + turned.flip(2)) / 2
