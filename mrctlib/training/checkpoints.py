"""Checkpoints: one safetensors file (no pickle), whole or absent, with what the training says about itself in JSON.

Where `MRCT_CHECKPOINTS` names a folder, every training that is told no folder of its own and is not watched keeps one
there, under a fingerprint of all that decides its result. A notebook that was run once then starts, in front of a
class, from its checkpoints.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import types
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import mrctlib
from mrctlib.runtime import InputError, whole_file

CHECKPOINT = "checkpoint.safetensors"


def checkpoint_path(folder: str | Path | None, watch: object, *decides: object) -> Path | None:
    """Where a training keeps its checkpoint: in `folder`, else in one of its own in `MRCT_CHECKPOINTS`, else nowhere.

    decides: all on which its result depends: plan, networks, data, losses. A training with a `watch` is there to be
    watched, so it runs again.
    """
    if folder is not None:
        return Path(folder) / CHECKPOINT
    kept = os.environ.get("MRCT_CHECKPOINTS")
    return Path(kept) / fingerprint(mrctlib.__version__, decides) / CHECKPOINT if kept and watch is None else None


def fingerprint(*things: object) -> str:
    """The same for things that would make the same training, in any session: 32 hexadecimal digits of their SHA-256.

    Tensors and arrays count by value, networks by class, weights and settings, functions by code and what it refers to.
    """
    digest = hashlib.sha256()
    met: dict[int, Any] = {}  # the things themselves, so that no other gets the id of one that is gone

    def feed(thing: Any) -> None:
        digest.update(type(thing).__name__.encode())
        if isinstance(thing, Tensor | np.ndarray):
            values = thing.detach().cpu().numpy() if isinstance(thing, Tensor) else thing
            digest.update(f"{values.dtype}{values.shape}".encode() + values.tobytes())
        elif thing is None or isinstance(
            thing, bool | int | float | complex | str | bytes | torch.device | torch.dtype
        ):
            digest.update(repr(thing).encode())
        elif isinstance(thing, types.ModuleType | types.BuiltinFunctionType):
            digest.update(thing.__name__.encode())
        elif id(thing) not in met:
            met[id(thing)] = thing
            for part in _parts(thing):
                feed(part)

    feed(things)
    return digest.hexdigest()[:32]


def _parts(thing: Any) -> list[Any]:
    """What stands for a thing that is no plain value."""
    if isinstance(thing, Mapping):
        return [part for item in thing.items() for part in item]
    if isinstance(thing, list | tuple):
        return list(thing)
    if isinstance(thing, set | frozenset):
        return sorted(thing, key=repr)
    if isinstance(thing, weakref.ref):
        return [thing()]
    if isinstance(thing, functools.partial):
        return [thing.func, thing.args, thing.keywords]
    if isinstance(thing, types.MethodType):
        return [thing.__func__, thing.__self__]
    if isinstance(thing, types.CodeType):
        return [thing.co_code, thing.co_names, thing.co_consts]
    named = isinstance(thing, types.FunctionType | type) and "<" not in thing.__qualname__  # no lambda, nothing local
    if named and thing.__module__ != "__main__":
        return [thing.__module__, thing.__qualname__]  # of a library
    if isinstance(thing, types.FunctionType):
        return [thing.__code__, thing.__defaults__, thing.__kwdefaults__, *_refers_to(thing)]
    if isinstance(thing, type):
        methods = {name: value for name, value in vars(thing).items() if isinstance(value, types.FunctionType)}
        return [thing.__bases__, methods, {name: value for name, value in vars(thing).items() if name[:2] != "__"}]
    return [type(thing), getattr(thing, "__dict__", None) or repr(thing)]


def _refers_to(function: types.FunctionType) -> list[Any]:
    """The values that a function's code takes from outside: closed over, or global."""
    names, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    told = function.__globals__
    return [cell.cell_contents for cell in function.__closure__ or ()] + [
        told[name] for name in sorted(names & told.keys())
    ]


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


def draws() -> dict[str, Tensor]:
    """Where PyTorch's random numbers stand: so what is drawn after a training does not depend on whether it ran."""
    return {"draws": torch.get_rng_state()}


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
