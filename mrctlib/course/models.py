"""Shipped models: trained for as long as it takes, stored with where they come from, loaded in a second.

    python -m mrctlib.course.models [NAME ...]     makes them again, in out/models; goes on where it stopped

A model is two files on the shelf. NAME.safetensors has its networks, large weights in half precision. NAME.json says
how it came to be: recipe, data with their digest, hardware, versions, commit, and for each seed the seconds of its
training and what was measured. Nothing there is typed in by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mrctlib.runtime import InputError, seed_everything, settle_torch, tier, whole_file
from mrctlib.training.checkpoints import under, write_checkpoint

SHELF = Path(__file__).with_name("shelf")
LARGE = 10_000  # numbers in one tensor; smaller ones keep their precision
THREE = (0, 1, 2)  # the seeds of what a claim hangs on
MAKERS = (
    "digits",
    "medicine",
    "translation",
    "diffusion",
    "transfer",
)  # modules of the shelf, each with its MODELS by name

Networks = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Model:
    """How a shipped model is made.

    what: one line. build: its networks by name, untrained. train: trains them in place, from (networks, folder of the
    checkpoints, seed), and says with what: `recipe`, `data`, `seconds`. measure: what they do, from (networks, seed of
    the noise). seeds: each is trained and measured; the one in the middle is shipped, by the first of its measures.
    """

    what: str
    build: Callable[[], Networks]
    train: Callable[[Networks, Path, int], dict[str, Any]]
    measure: Callable[[Networks, int], dict[str, float]]
    seeds: tuple[int, ...] = (0,)


def makers() -> dict[str, Model]:
    """How every model of the shelf is made, by name."""
    modules = (import_module(f"{__package__}.shelf.{maker}") for maker in MAKERS)
    return {name: model for module in modules for name, model in module.MODELS.items()}


def load(name: str) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """(networks by name, in evaluation mode on the CPU; what the model's file says, and `measured`: the shipped run).

    Raises:
        InputError: there is no model of that name, or it has not been made yet.
    """
    known = makers()
    if name not in known:
        raise InputError(f"no model is called {name!r}: choose one of {', '.join(known)}")
    path = SHELF / f"{name}.safetensors"
    if not path.exists():
        raise InputError(f"{path} is missing: make it with python -m mrctlib.course.models {name}")
    tensors, networks = load_file(path), dict(known[name].build())
    for key, network in networks.items():
        network.load_state_dict(under(tensors, key))  # which brings it back to single precision
        network.eval()
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return networks, about | {"measured": about["runs"][about["shipped"]]}


def make(name: str, model: Model, out: Path) -> dict[str, Any]:
    """Train a model with each of its seeds, below `out`, measure all, and put the one in the middle on the shelf."""
    runs, trained = {}, {}
    for seed in model.seeds:
        seed_everything(seed, name)
        networks = trained[f"seed {seed}"] = model.build()
        said = model.train(networks, out / name / str(seed), seed)
        runs[f"seed {seed}"] = model.measure(networks, 0) | {"seconds": round(said.pop("seconds"))}
    shipped = sorted(runs, key=lambda run: next(iter(runs[run].values())))[(len(runs) - 1) // 2]
    device = tier().device
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    about = {
        "name": name, "what": model.what, "command": f"python -m mrctlib.course.models {name}", **said, "runs": runs,
        "shipped": shipped, "hardware": f"{os.cpu_count()} cores, {torch.get_num_threads()} used, {card}",
        "versions": {package: version(package) for package in ("torch", "numpy")}, "commit": commit(),
    }  # fmt: skip
    every = [(f"{key}/{of}", value) for key, n in trained[shipped].items() for of, value in n.state_dict().items()]
    write_checkpoint(SHELF / f"{name}.safetensors", {key: stored(value) for key, value in every}, {})
    with whole_file(SHELF / f"{name}.json", force=True) as part:
        part.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return about


def stored(value: Tensor) -> Tensor:
    """A large tensor of weights in half precision."""
    return value.half() if value.is_floating_point() and value.numel() > LARGE else value


@cache  # before the first model is stored, which is a change of the tree
def commit() -> str:
    """The commit of this checkout, with + where the tree held changes; unknown outside of one."""
    asked = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, cwd=SHELF)
    return asked.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to make; all, if none is named")
    parser.add_argument("--out", type=Path, default=Path("out/models"), help="folder of the checkpoints")
    asked, known = parser.parse_args(), makers()
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"no model is called {unknown[0]!r}: choose from {', '.join(known)}")
    settle_torch()
    for name in asked.names or known:
        try:
            about = make(name, known[name], asked.out)
        except InputError as error:
            parser.exit(2, f"{name}: {error}\n")
        for run, measured in about["runs"].items():
            print(f"{name}, {run}: " + ", ".join(f"{key} {value:.4g}" for key, value in measured.items()), flush=True)


if __name__ == "__main__":
    main()
