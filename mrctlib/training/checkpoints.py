"""Checkpoints: one safetensors file (no pickle), whole or absent, with what the training says about itself in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mrctlib.runtime import InputError, whole_file

CHECKPOINT = "checkpoint.safetensors"


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
    """(tensors by name, what the training said about itself).

    Raises:
        InputError: the file is missing, not safetensors, or not from a training of this library.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no checkpoint there; train first, or name the folder of a run")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (the file is no dict)
            return tensors, json.loads((file.metadata() or {})["about"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: is not a checkpoint of this library; name another run, or train again") from error


def under(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors whose names start with `name/`, by what follows."""
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(name + "/")}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers, by `index of the parameter/name`."""
    state = optimiser.state_dict()["state"]
    return {f"{index}/{name}": value for index, kept in state.items() for name, value in kept.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser back what `optimiser_tensors` took from it."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
