"""How long each notebook's trainings would take on a T4: a calculation, not a measurement. No GPU has run it.

Every notebook is executed at the sizes of the `gpu` tier on the CPU, with two steps for each training. The second step
of each is watched: the operators that it dispatches (forward, backward, optimiser), the numbers that each reads and
writes, and its floating point operations. An operator is taken to need the longest of

- its launches, 15 microseconds each (Python and PyTorch on a slow host core; one launch for an operator, three for a
  convolution or a product of matrices, which under autocast cast their inputs first);
- its bytes, as float32, at the 320 GB/s of the card's memory;
- its operations, at a share (argument) of the 65 TFLOP/s that the card has in float16.

The share is a guess: nobody has measured it. A step is the sum over its operators and 2 ms for what surrounds them
(Python, random numbers, the scaler of gradients; a guess as well), a training is its steps. An optimiser is
counted as fused, as it is on a GPU. Loops that a notebook writes out itself are not seen; they are short.
"The rest" is what else the notebook does, as it took here, on a CPU, watched and without a GPU: an upper bound for the
host, whose cores draw the phantoms there as well.

python benchmarks/gpu_minutes.py [NOTEBOOK ...] [--share 0.15]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

import nbformat
import torch
from nbclient import NotebookClient
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mrctlib.training.loop import Training

ROOT = Path(__file__).parent.parent
LAUNCH = 15e-6  # seconds
HOST = 2e-3  # seconds a step: Python, random numbers, the scaler of gradients
BYTES_A_SECOND = 320e9
PEAK = 65e12  # operations a second, float16
SHARE = 0.15
NO_KERNEL = ("empty", "detach", "alias", "lift", "_local_scalar_dense", "_unsafe_view", "is_same_size", "new_empty")


class Watch(TorchDispatchMode):
    """Collects (launches, bytes, operations) of every operator that is dispatched and starts a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[tuple[int, int, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view and not func._opname.startswith(NO_KERNEL):
            packet = func._overloadpacket
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out) if packet in flop_registry else 0
            tensors = torch.utils._pytree.tree_leaves((args, kwargs or {}, out))
            numbers = sum(t.numel() for t in tensors if isinstance(t, torch.Tensor))
            self.operators.append((3 if flops else 1, 4 * numbers, flops))
        return out


def seconds_of(operators: list[tuple[int, int, int]], share: float) -> float:
    """What the operators of one step would take."""
    return HOST + sum(
        max(launches * LAUNCH, size / BYTES_A_SECOND, flops / (share * PEAK)) for launches, size, flops in operators
    )


def watch_trainings(path: str) -> None:
    """In a kernel: let every training add one line of JSON to a file when its second step is taken."""
    build, one_step, asked = Training.__init__, Training.one_step, {}

    def noting(self: Training, *args: object, steps: int, **options: object) -> None:
        asked[id(self)] = steps
        build(self, *args, steps=steps, **options | {"watch_every": 1})  # so that a history has two rows

    def watched(self: Training) -> object:
        if self.step != 1:  # the first makes what an optimiser keeps
            return one_step(self)
        kept = {key: optimiser.step for key, optimiser in self.optimisers.items()}
        fused = [optimiser_as_one(optimiser) for optimiser in self.optimisers.values()]
        try:
            with Watch() as seen:
                losses = one_step(self)
        finally:
            for key, optimiser in self.optimisers.items():
                optimiser.step = kept[key]
        steps_taken = [operator for calls in fused for operator in calls]
        row = {"name": self.name, "steps": asked[id(self)], "operators": seen.operators + steps_taken}
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")
        return losses

    Training.__init__, Training.one_step = noting, watched


def optimiser_as_one(optimiser: torch.optim.Optimizer) -> list[tuple[int, int, int]]:
    """Put a note of what its fused kernel would do in place of an optimiser's step; returns the growing list."""
    weights = [p for group in optimiser.param_groups for p in group["params"]]
    notes: list[tuple[int, int, int]] = []

    def step(
        closure: object = None,
    ) -> None:  # weight, slope and two averages, read and written; forty tensors a launch
        notes.append((-(-len(weights) // 40) + 4, 28 * sum(p.numel() for p in weights), 0))

    optimiser.step = step
    return notes


def trainings_of(path: Path, *, timeout: int = 1800) -> tuple[list[dict], float]:
    """Every training of a notebook at gpu sizes: name, steps and the operators of one; and the seconds of the rest."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "trainings.jsonl"
        here = str(Path(__file__).parent)
        first = (
            f"import sys; sys.path.insert(0, {here!r}); import gpu_minutes; gpu_minutes.watch_trainings({str(rows)!r})"
        )
        notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
        few = {"MRCT_TIER": "gpu", "MRCT_STEPS": "2", "MRCT_DATA": "embedded", "PYTHONOPTIMIZE": "1"}
        started = time.perf_counter()
        client = NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": folder}})
        client.execute(env=os.environ | few)
        seconds = time.perf_counter() - started
        found = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    return found, seconds


def says(path: Path) -> str:
    """What the notebook says of its time."""
    text = nbformat.read(path, as_version=4).cells[0].source
    found = re.search(r"\*\*Time\*\*: (.*?)(?:\n\*\*|\*\*Assumed|\n\n|$)", text, re.DOTALL)
    return " ".join(found.group(1).split()) if found else "nothing"


def report(path: Path, share: float) -> float:
    """Print a table for one notebook; returns the seconds of its trainings on a T4, by calculation."""
    found, rest = trainings_of(path)
    print(f"\n## {path.parent.name}/{path.stem}\n\nIt says: {says(path)}\n")
    total, times = 0.0, Counter()
    for row in found:
        once = seconds_of(row["operators"], share)
        total += row["steps"] * once
        name = re.sub(r",? +(seed +)?\d+$", "", row["name"])
        flops = sum(flops for _, _, flops in row["operators"])
        launches = sum(launches for launches, _, _ in row["operators"])
        times[name, row["steps"], launches, round(flops / 1e9, 1), round(1000 * once, 1)] += 1
    for (name, steps, launches, flops, once), count in times.items():
        print(
            f"{count:3} x {name:<32} {steps:>6} steps of {once:6.1f} ms ({launches:5} launches, {flops:8.1f} GFLOP): "
            f"{count * steps * once / 1000:6.0f} s"
        )
    print(f"trainings on a T4, by calculation: {total:.0f} s; the rest, on this CPU: at most {rest:.0f} s", flush=True)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="by default all")
    parser.add_argument("--share", type=float, default=SHARE, help="of the card's float16 rate, a guess")
    asked = parser.parse_args()
    notebooks = asked.notebooks or sorted([*ROOT.glob("lectures/*.ipynb"), *ROOT.glob("labs/*.ipynb")])
    print("# Minutes on a T4, by calculation: no GPU has run this.")
    print(f"{1e6 * LAUNCH:.0f} us a launch, {BYTES_A_SECOND / 1e9:.0f} GB/s, {asked.share:.0%} of 65 TFLOP/s")
    totals = {path.stem: report(path, asked.share) for path in notebooks}
    print("\n## Sum of trainings, seconds on a T4, by calculation\n")
    for name, total in totals.items():
        print(f"{name:<34} {total:6.0f}")


if __name__ == "__main__":
    main()
