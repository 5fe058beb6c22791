"""The road back: from a trained generator to a synthetic CT volume on the patient's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from mrctlib.data.cohorts import body_window, cut_about, paste_about, to_stack
from mrctlib.data.volumes import Volume, denormalise_ct, normalise_mr, resample_like
from mrctlib.runtime import InputError
from mrctlib.training.checkpoints import CHECKPOINT, under
from mrctlib.training.games import Recipe, build_generator
from mrctlib.training.translation import read_run


def load_generator(run: str | Path, name: str = "averaged") -> tuple[nn.Module, Recipe]:
    """The trained generator of a run, ready to use on the CPU, with its recipe.

    name: "averaged" (MR to CT, the one to use), or "generators.to_ct" and "generators.to_mr" as they were at the end.

    Raises:
        InputError: no checkpoint in `run`, or one that does not fit its own recipe.
    """
    path = Path(run) / CHECKPOINT
    tensors, _, recipe = read_run(path)
    try:
        generator = build_generator(recipe)
        generator.load_state_dict(under(tensors, name))
    except (RuntimeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: the weights do not fit its architecture ({recipe.generator}); train again"
        ) from error
    return generator.eval().requires_grad_(False), recipe


@torch.no_grad()
def synthesize(generator: nn.Module, mr: Volume, body: np.ndarray, recipe: Recipe, batch: int = 16) -> Volume:
    """A synthetic CT in HU on the grid of `mr`, slice by slice, each also in the mirror, and the two averaged.

    body: (R, A, S) bool; outside it the result is air. The slices have the size of the training, or more where the body
    needs it: instance normalisation sees the whole slice, so it should hold as much air as it did in training.

    Raises:
        InputError: the mask is empty, the MR constant, or the network gave NaN.
    """
    device = next(generator.parameters()).device
    scaled = mr.like(normalise_mr(mr.data, body))
    stack, plane = to_stack(scaled, recipe.spacing)
    middle, extent = body_window(to_stack(mr.like(body), recipe.spacing)[0] > 0.5)
    size = max(recipe.size, -(-extent // 16) * 16)  # generators halve the size several times
    fakes = []
    for part in cut_about(stack, middle, size, fill=-1.0).split(batch):
        both = generator(torch.cat([part, part.flip(2)]).to(device)).float().cpu()
        fakes.append((both[: len(part)] + both[len(part) :].flip(2)) / 2)
    fake = paste_about(torch.cat(fakes), middle, stack.shape[-2:], fill=-1.0)
    if not torch.isfinite(fake).all():
        raise InputError("the network gave NaN or infinite values: its training diverged; train again")
    back = resample_like(plane.like(np.moveaxis(fake[:, 0].numpy(), 0, 2)), mr, fill=-1.0)
    return mr.like(denormalise_ct(back.data, body))
