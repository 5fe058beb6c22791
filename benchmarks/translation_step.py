"""How fast is one training step? Images per second, share of the machine's own matrix-multiply rate, and the ratio to a
plain loop in the same run: float32, contiguous, every generator called once for each term.

python benchmarks/translation_step.py [--tier cpu|gpu] [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from mrctlib import losses
from mrctlib.data.cohorts import find_cases
from mrctlib.data.phantom import write_cohort
from mrctlib.runtime import tier
from mrctlib.training.games import PHANTOM_SHAPES, cohort_slices, recipe_for
from mrctlib.training.translation import TranslationTraining


def synchronised() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, the median of 7."""
    n = 8192 if device.type == "cuda" else 1024
    a = torch.randn(n, n, device=device, dtype=dtype)
    times = []
    for _ in range(9):
        started = synchronised()
        a @ a
        times.append(synchronised() - started)
    return 2 * n**3 / statistics.median(times[2:])


def plain_step(training: TranslationTraining) -> None:
    """The same step as simply as it can be written: one image at a time, each generator once for each term."""
    game, recipe = training.game, training.recipe
    batch = {k: v.to(training.device) for k, v in game.batch(torch.Generator().manual_seed(training.step)).items()}
    to_ct, to_mr = game.generators["to_ct"], game.generators["to_mr"]
    game.discriminators.requires_grad_(False)
    fakes: dict[str, list] = {"ct": [], "mr": []}
    total = 0.0
    for k in range(recipe.batch):
        one = {name: value[k : k + 1] for name, value in batch.items()}
        for source, target, there, back in (("mr", "ct", to_ct, to_mr), ("ct", "mr", to_mr, to_ct)):
            fake = game.shown(there(one[source]), one[f"{source}_depth"])
            terms = {
                "gan": game.judge(target, fake, real=True),
                "cycle": losses.cycle_consistency(one[source], back(there(one[source]))),
                "mind": losses.mind_consistency(one[source], there(one[source])),
                "profile": losses.profile(there(one[source]), one[f"{source}_depth"], one[f"typical_{target}"]),
                "background": losses.background(there(one[source]), one[f"{source}_depth"], one[f"typical_{target}"]),
            }
            if recipe.identity.at(0):
                terms["identity"] = losses.identity(one[source], back(one[source]))
            total = total + sum(getattr(recipe, n).at(0) * term for n, term in terms.items()) / recipe.batch
            fakes[target].append(fake.detach())
    training.optimisers["generators"].zero_grad()
    total.backward()
    training.optimisers["generators"].step()
    game.discriminators.requires_grad_(True)
    training.optimisers["discriminators"].zero_grad()
    game.discriminator_loss(batch, {name: torch.cat(images) for name, images in fakes.items()}).backward()
    training.optimisers["discriminators"].step()
    training.step += 1


def library_step(training: TranslationTraining) -> None:
    training.one_step()
    training.step += 1


def timed(step, training: TranslationTraining) -> float:
    started = synchronised()
    step(training)
    return synchronised() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", choices=("cpu", "gpu"))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.tier:
        os.environ["MRCT_TIER"] = options.tier
    here = tier()
    recipe = recipe_for("cyclegan", here)
    with tempfile.TemporaryDirectory() as folder:
        write_cohort(Path(folder) / "cohort", 4, shape=PHANTOM_SHAPES[here.name])
        slices = cohort_slices(find_cases(Path(folder) / "cohort"), recipe)[1:]
    library, plain = (TranslationTraining(recipe, *slices, here) for _ in range(2))
    for networks in (plain.game.generators, plain.game.discriminators):
        networks.to(memory_format=torch.contiguous_format)
    with FlopCounterMode(display=False) as counter:
        library_step(library)
    timed(plain_step, plain)
    pairs = [(timed(library_step, library), timed(plain_step, plain)) for _ in range(options.rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    precision = torch.bfloat16 if here.device.type == "cuda" else torch.float32
    rate = counter.get_total_flops() / ours
    print(f"tier {here.name} on {here.device}, {recipe.size} pixels, batch {recipe.batch}, {options.rounds} rounds")
    print(f"library: {1000 * ours:.0f} ms a step (median), {2 * recipe.batch / ours:.1f} images a second")
    print(f"plain:   {1000 * theirs:.0f} ms a step (median)")
    print(f"ratio plain / library, pair by pair: {ratio:.2f}")
    share = rate / matmul_rate(here.device, precision)
    print(f"{rate / 1e9:.1f} GFLOP/s, {100 * share:.0f}% of this machine's matrix product")


if __name__ == "__main__":
    main()
