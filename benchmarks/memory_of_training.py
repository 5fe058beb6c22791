"""How much memory does a large cohort take, and how long until its training starts?

    python benchmarks/memory_of_training.py [--patients 180] [--slices 200] [--folder FOLDER]

Made-up patients of 256 x 256 voxels of 1 mm, unpaired, slices of 256 pixels, small networks: what grows with a cohort
is its slices. Measured are the first start, which cuts them, one with what it kept, and two processes together, as
torchrun starts them; memory is proportional set size (PSS): pages that processes share are counted once. Linux.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mrctlib import setup
from mrctlib.data.cohorts import find_cases
from mrctlib.data.volumes import Volume, write_volume
from mrctlib.runtime import Tier, processes
from mrctlib.training.recipe import cohort_slices, recipe_for
from mrctlib.training.translation import TranslationTraining

DIFFERENT = 4  # patients that are really drawn; the others are links to their files


def make_up(folder: Path, patients: int, slices: int) -> None:
    """Ellipsoids with smooth noise in them."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (256, 256, slices)), indexing="ij", sparse=False))
    for number in range(patients):
        case = folder / f"case{number:03d}"
        if number >= DIFFERENT:
            case.mkdir()
            for path in (folder / f"case{number % DIFFERENT:03d}").iterdir():
                os.link(path, case / path.name)
            continue
        rng = np.random.default_rng(number)
        body = (grid**2 * np.array([1.7, 1.3, 0.9]).reshape(3, 1, 1, 1)).sum(0) < 1 - 0.05 * number
        wave = np.sin(grid[0] * 30 * rng.uniform(0.5, 1)) + rng.normal(0, 0.1, body.shape)
        for name, image in (("mr", 400 + 100 * wave), ("ct", 100 * wave)):
            data = np.where(body, image, -1000 if name == "ct" else 0).astype(np.float32)
            write_volume(Volume(data, np.eye(4)), case / f"{name}.nii.gz")
        write_volume(Volume(body.astype(np.uint8), np.eye(4)), case / "mask.nii.gz")


def train(folder: Path, run: Path, steps: int) -> None:
    """The training whose memory is measured, in a process of its own."""
    setup()
    started = time.perf_counter()
    recipe = recipe_for("cyclegan", Tier("cpu", torch.device("cpu")))
    recipe = replace(recipe, spacing=1.0, size=256, base=2, discriminator_base=2, batch=2, steps=steps)
    slices = cohort_slices(find_cases(folder), recipe, run)
    training = TranslationTraining(recipe, *slices, Tier("cpu", torch.device("cpu")))
    started = time.perf_counter() - started
    training.run()
    told = Path("/proc/self/smaps_rollup").read_text()
    pss, rss = (int(re.search(rf"^{kind}:\s+(\d+)", told, re.M)[1]) * 1024 for kind in ("Pss", "Rss"))
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    shape = f"{len(slices[0])} + {len(slices[1])} slices"
    memory = f"PSS {pss / 1e9:.2f} GB, RSS {rss / 1e9:.2f} GB, peak RSS {peak / 1e9:.2f} GB"
    print(f"process {processes()[0]}: {shape}, start {started:.1f} s; at the end {memory}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=180)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where patients and slices lie, and stay")
    parser.add_argument("--train", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(*options.train, options.steps)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder, run = ((options.folder or Path(temporary)) / name for name in ("cohort", "run"))
        if not folder.is_dir():
            folder.mkdir(parents=True)
            make_up(folder, options.patients, options.slices)
        this = [__file__, "--steps", str(options.steps), "--train", str(folder), str(run)]
        for what, command in (
            ("slices are cut", [sys.executable, *this]),
            ("slices are there", [sys.executable, *this]),
            ("two processes", [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *this]),
        ):
            print(f"{options.patients} patients of {options.slices} slices, {what}:", flush=True)
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
