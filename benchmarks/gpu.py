"""What does a GPU make of the course? `make gpu` runs this, in at most 8 minutes.

It writes mrctlib/course/results/gpu/CARD.json, which lab 8 shows.

    python benchmarks/gpu.py [--out FILE] [--smoke]

- parity: one step of the CycleGAN from the same weights and the same batch on the CPU in float32 and on the GPU in each
  precision: how far the losses, and the gradients as one vector, lie apart, relative to those of the CPU.
- speed: images a second of the paper-sized step (256 pixels, ResNet with 9 blocks) and of the `gpu` tier's, beside the
  step of the published code on the same card in float32; the share of the card's own rate for matrix products in the
  precision it trains in; and each choice switched off in turn: the order in memory, the normalisation, compiling.
- the training of lab 8 at the `gpu` tier: seconds, error on patients that it never saw, peak memory.

--smoke: everything once, small, on the CPU: a test of this file that measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from translation_step import Published, matmul_rate, published_layers, timed

from mrctlib import metrics, setup
from mrctlib.data.cohorts import find_cases, split_cases
from mrctlib.data.slices import SliceSet
from mrctlib.phantom.head import write_cohort
from mrctlib.runtime import PRECISIONS, Tier, precision, tier
from mrctlib.training.recipe import PHANTOM_SHAPES, CycleRecipe, cohort_slices, recipe_for
from mrctlib.training.synthesis import synthesize
from mrctlib.training.translation import TranslationTraining

RESULTS = Path(__file__).parent.parent / "mrctlib" / "course" / "results" / "gpu"


def made_up(recipe: CycleRecipe) -> tuple[SliceSet, SliceSet]:
    """Slices that cost no time to draw: discs of noise, as large as those of the recipe."""
    generator = torch.Generator().manual_seed(0)
    line = torch.linspace(-1, 1, recipe.size)
    depth = (100 * (0.8 - torch.hypot(line[:, None], line[None]))).clamp(min=0).expand(16, 1, -1, -1)
    heights = torch.linspace(0, 1, 16)
    images = [torch.where(depth > 0, torch.rand(depth.shape, generator=generator), -1.0) for _ in range(2)]
    mr, ct = (SliceSet.of(image, depth, heights) for image in images)
    return mr, ct


def one_step(recipe: CycleRecipe, slices: tuple, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(losses, gradients of the generators as one vector) of the first step, on the CPU."""
    training = TranslationTraining(recipe, *slices, Tier("gpu", device))
    if training.scaler.is_enabled():  # not as large as a training tries first, which may overflow
        training.scaler.load_state_dict(training.scaler.state_dict() | {"scale": 256.0})
    losses = training.one_step()
    gradients = [p.grad.detach().float().flatten().cpu() for p in training.game.generators.parameters()]
    fused = training.optimisers["generators"].defaults["fused"]  # any other is handed gradients as they are
    scale = training.scaler.get_scale() if fused else 1.0
    return torch.stack([value.detach().float().cpu() for value in losses.values()]), torch.cat(gradients) / scale


def parity(recipe: CycleRecipe, device: torch.device) -> dict[str, dict[str, float]]:
    slices = made_up(recipe)
    recipe = replace(recipe, noise=0.0)  # each device draws its own
    found = {}
    for name in PRECISIONS:
        os.environ["MRCT_PRECISION"] = "float32"
        loss, gradient = one_step(recipe, slices, torch.device("cpu"))
        os.environ["MRCT_PRECISION"] = name
        its_loss, its_gradient = one_step(recipe, slices, device)
        found[name] = {
            "losses": float(((its_loss - loss).abs() / loss.abs().clamp(min=1e-6)).max()),
            "gradients": float((its_gradient - gradient).norm() / gradient.norm()),
        }
    del os.environ["MRCT_PRECISION"]
    return found


def contiguous(training: TranslationTraining) -> None:
    for network in training.networks.values():
        network.to(memory_format=torch.contiguous_format)


def instance_norm(training: TranslationTraining) -> None:
    for network in training.networks.values():
        published_layers(network, reflect=False)


def compiled(training: TranslationTraining) -> None:
    """The generators alone: nobody asks them to stand still, which a compiled network would not notice."""
    for generator in training.game.generators.values():
        generator.compile()


CHOICES = {"contiguous": contiguous, "InstanceNorm2d": instance_norm, "compiled": compiled}


def speed(recipe: CycleRecipe, device: torch.device, steps: int) -> dict[str, object]:
    slices, here = made_up(recipe), Tier("gpu", device)

    def rate(training: TranslationTraining) -> float:
        for _ in range(3):
            training.one_step()
        return 2 * recipe.batch / statistics.median(timed(training) for _ in range(steps))

    ours = TranslationTraining(recipe, *slices, here)
    with FlopCounterMode(display=False) as counter:
        ours.one_step()
    told = {"ours": rate(ours)}
    told["peak_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
    os.environ["MRCT_PRECISION"] = "float32"
    published = TranslationTraining(recipe, *slices, here, game=Published)
    contiguous(published)
    told["published, float32"] = rate(published)
    del os.environ["MRCT_PRECISION"]
    per_image = counter.get_total_flops() / (2 * recipe.batch)
    told["share_of_matrix_rate"] = told["ours"] * per_image / matmul_rate(device, precision(device))
    for name, change in CHOICES.items():
        training = TranslationTraining(recipe, *slices, here)
        try:
            change(training)
            told[name] = rate(training)
        except Exception as error:  # no compiler, for one: a result as well
            told[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    return told


def lab8(recipe: CycleRecipe, here: Tier, cases: int, shape: tuple[int, ...]) -> dict[str, float]:
    """The lab's training, on its patients."""
    with tempfile.TemporaryDirectory() as folder:
        cohort = find_cases(write_cohort(Path(folder) / "cohort", cases, 0, shape=shape))
        train, test = split_cases(cohort, (0.8, 0.2), 0)
        training = TranslationTraining(recipe, *cohort_slices(train, recipe), here).run()
        rows = []
        for case in test:
            mr, ct, body = case.pair()
            sct = synthesize(training.averaged, mr, body, recipe)
            rows.append(metrics.evaluate(ct.data, sct.data, body))
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {"steps": training.step, "seconds": training.seconds, "patients": len(test)} | means


def commit() -> str:
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return told.stdout.strip()


def main() -> None:
    setup()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        here, card, steps, cases, shape = Tier("gpu", torch.device("cpu")), "smoke", 1, 5, (32, 32, 16)
    elif torch.cuda.is_available():
        os.environ["MRCT_TIER"] = "gpu"
        here, steps, cases, shape = tier(), 15, 20, PHANTOM_SHAPES["gpu"]  # as many as lab 8 draws there
        card = torch.cuda.get_device_name(here.device)
    else:
        sys.exit("no CUDA device here: nothing to measure (--smoke tries this file on a CPU)")
    small = {"base": 4, "depth": 2, "size": 32, "spacing": 8.0, "discriminator_base": 4, "batch": 2, "steps": 2}
    recipes = {"full": recipe_for("cyclegan", here, full=True), "gpu": recipe_for("cyclegan", here)}
    if options.smoke:
        recipes = {name: replace(recipe, **small, discriminator_layers=1) for name, recipe in recipes.items()}
    result = {
        "card": card, "precision": str(precision(here.device)).removeprefix("torch."), "commit": commit(),
        "versions": {"python": platform.python_version()} | {n: version(n) for n in ("torch", "numpy")},
        "data": f"{cases} phantom patients, seed 0",
    }  # fmt: skip
    result["parity"] = parity(recipes["gpu"], here.device)
    print(json.dumps(result["parity"], indent=2), flush=True)
    result["images_per_second"] = {name: speed(recipe, here.device, steps) for name, recipe in recipes.items()}
    print(json.dumps(result["images_per_second"], indent=2), flush=True)
    result["lab8"] = lab8(recipes["gpu"], here, cases, shape)
    print(json.dumps(result["lab8"], indent=2), flush=True)
    out = options.out or RESULTS / f"{re.sub(r'[^A-Za-z0-9]+', '-', card)}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(out)


if __name__ == "__main__":
    main()
