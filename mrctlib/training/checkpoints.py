"""Checkpoints: one safetensors file (no pickle), whole or absent, with what the training says about itself in JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mrctlib.runtime import InputError, digest, whole_file

CHECKPOINT = "checkpoint.safetensors"


def keep(
    recipe: Mapping[str, Any], networks: Sequence[nn.Module], data: Sequence[Tensor | None], *,
    name: str | None, folder: str | Path | None, watched: bool,
) -> tuple[dict[str, Any], Path | None]:  # fmt: skip
    """(what a training's checkpoint belongs to, where it lies): in `folder`, else where `MRCT_CHECKPOINTS` says.

    There every training that has a name keeps one, told from others by its recipe, its data and its first weights: a
    notebook that was run once then starts, in front of a class, from its checkpoints. Of functions, such as the loss,
    only their names count, so where these are alike, the trainings' names must differ. A training that is watched is
    there to be watched, so it is not kept there.
    """
    root = os.environ.get("MRCT_CHECKPOINTS")
    if folder is None and (watched or not name or not root):
        return {}, None
    called = {key: getattr(value, "__name__", type(value).__name__) for key, value in recipe.items() if callable(value)}
    belongs_to = {"recipe": dict(recipe) | called, "networks": digest(*map(str, networks)), "data": digest(*data)}
    if folder is not None:
        return belongs_to, Path(folder) / CHECKPOINT
    told = digest(json.dumps(belongs_to), *networks)
    readable = "".join(letter if letter.isalnum() else "-" for letter in name)
    return belongs_to, Path(root) / f"{readable}-{told}" / CHECKPOINT


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors by name, and `about` (anything that JSON can hold), in place of an older checkpoint."""
    # A copy of each: safetensors refuses tensors that share memory.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, force=True) as part:
        save_file(tensors, part, metadata={"about": json.dumps(about)})


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors by name, what the training said about itself). Copies: Windows replaces no file that is mapped.

    Raises:
        InputError: the file is missing, may not be read, is not safetensors, or not from a training of this library.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no checkpoint there; train first, or name the folder of a run")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: permission denied; ask its owner to let you read it")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (the file is no dict)
            about = json.loads((file.metadata() or {})["about"])
            return tensors, {key: about[key] for key in ("belongs_to", "notes", "step", "seconds", "history", "scale")}
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise InputError(f"{path}: is not a checkpoint of this library; name another run, or train again") from error


def under(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors whose names start with `name/`, by what follows."""
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(name + "/")}


def pack(networks: Mapping[str, nn.Module], optimisers: Mapping, pools: Mapping) -> dict[str, Tensor]:
    """All that a training remembers, by name: weights, what optimisers keep of each, old fakes, random numbers."""
    # The random numbers as well: what is drawn afterwards does not depend on whether it ran or was found.
    tensors = {"draws": torch.get_rng_state()}
    for name, network in networks.items():
        tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
    for name, optimiser in optimisers.items():
        for index, kept in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{name}/{index}/{key}": value for key, value in kept.items()}
    return tensors | {f"pool/{name}": torch.stack(pool.images) for name, pool in pools.items() if pool.images}


def unpack(
    tensors: Mapping[str, Tensor], networks: Mapping[str, nn.Module], optimisers: Mapping, pools: Mapping
) -> None:
    """Give back what `pack` took.

    Raises:
        RuntimeError, ValueError, KeyError: the tensors are those of other networks.
    """
    for name, network in networks.items():
        network.load_state_dict(under(tensors, name))
    for name, optimiser in optimisers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in under(tensors, f"optimiser.{name}").items():
            index, _, what = key.partition("/")
            state.setdefault(int(index), {})[what] = value
        optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
    device = next(next(iter(networks.values())).parameters()).device
    for name, pool in pools.items():
        pool.images = list(tensors.get(f"pool/{name}", torch.empty(0)).to(device))
    torch.set_rng_state(tensors["draws"])
