"""How fast is one training step? Images per second, share of the machine's own matrix-multiply rate, and the ratio to
the published code's step in the same run: with networks as wide as ours, and with those that the `cpu` tier had before
(generators 12 wide, discriminators 32). How good both become says translation_quality.py.

    python benchmarks/translation_step.py [--tier cpu|gpu] [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mrctlib import losses, setup
from mrctlib.data.cohorts import find_cases
from mrctlib.data.slices import SliceSet
from mrctlib.models.translation import ResnetGenerator
from mrctlib.phantom.head import write_cohort
from mrctlib.runtime import precision, tier
from mrctlib.training.cyclegan import CycleGan
from mrctlib.training.recipe import PHANTOM_SHAPES, CycleRecipe, cohort_slices, recipe_for
from mrctlib.training.translation import TranslationTraining

BEFORE = {"base": 12, "discriminator_base": 32}


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product, the median of 7."""
    n = 8192 if device.type == "cuda" else 1024
    a = torch.randn(n, n, device=device, dtype=dtype)
    times = []
    for _ in range(9):
        started = time.perf_counter()
        a @ a
        getattr(torch, device.type).synchronize()
        times.append(time.perf_counter() - started)
    return 2 * n**3 / statistics.median(times[2:])


class Published(CycleGan):
    """The game as the published code plays it (junyanz/pytorch-CycleGAN-and-pix2pix), with our losses.

    `InstanceNorm2d`, reflected borders around the ResNet's layers that do not change the size, fake, way back and
    identity once each in calls of their own, images contiguous in memory.
    """

    def __init__(self, recipe: CycleRecipe, *slices: SliceSet) -> None:
        super().__init__(recipe, *slices)
        for network in (*self.generators.values(), *self.discriminators.values()):
            published_layers(network, reflect=isinstance(network, ResnetGenerator))

    def asked_of_generators(self, batch: dict, done: float) -> tuple[dict, dict]:
        recipe, to_ct, to_mr = self.recipe, self.generators["to_ct"], self.generators["to_mr"]
        fake, back, terms = {}, {}, {}
        for source, target, there, again in (("mr", "ct", to_ct, to_mr), ("ct", "mr", to_mr, to_ct)):
            image, depth, typical = batch[source], batch[f"{source}_depth"], batch[f"typical_{target}"]
            made = there(image)
            fake[target] = self.shown(made, depth)
            back[source] = again(made + recipe.noise * torch.randn_like(made))
            asked = {
                "gan": lambda f=fake[target], t=target: self.judge(t, f, real=True),
                "cycle": lambda i=image, s=source: losses.cycle_consistency(i, back[s]),
                "identity": lambda i=image, g=again: losses.identity(i, g(i)),
                "mind": lambda i=image, m=made: losses.mind_consistency(i, m),
                "background": lambda m=made, d=depth, t=typical: losses.background(m, d, t),
                "profile": lambda m=made, d=depth, t=typical: losses.profile(m, d, t),
            }
            for name, loss in asked.items():
                if getattr(recipe, name).at(done):
                    terms[name] = terms.get(name, 0) + loss()
        return terms, fake


def published_layers(network: nn.Module, *, reflect: bool) -> None:
    for name, layer in list(network.named_children()):
        if isinstance(layer, nn.GroupNorm):
            setattr(network, name, nn.InstanceNorm2d(layer.num_channels))
        elif isinstance(layer, nn.Conv2d) and layer.stride == (1, 1) and reflect:
            layer.padding_mode = "reflect"
        else:
            published_layers(layer, reflect=reflect)


def published(recipe: CycleRecipe, *slices: SliceSet) -> TranslationTraining:
    training = TranslationTraining(recipe, *slices, tier(), game=Published)
    for network in training.networks.values():
        network.to(memory_format=torch.contiguous_format)
    return training


def timed(training: TranslationTraining) -> float:
    started = training.clock()
    training.one_step()
    return training.clock() - started


def main() -> None:
    setup()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", choices=("cpu", "gpu"))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.tier:
        os.environ["MRCT_TIER"] = options.tier
    here = tier()
    recipe = recipe_for("cyclegan", here)
    before = replace(recipe, **BEFORE) if here.name == "cpu" else recipe
    with tempfile.TemporaryDirectory() as folder:
        write_cohort(Path(folder) / "cohort", 4, shape=PHANTOM_SHAPES[here.name])
        slices = cohort_slices(find_cases(Path(folder) / "cohort"), recipe)
    ours = TranslationTraining(recipe, *slices, here)
    others = {"published, same widths": published(recipe, *slices), "published, as it was": published(before, *slices)}
    with FlopCounterMode(display=False) as counter:
        ours.one_step()
    for training in others.values():
        training.one_step()
    times = [[timed(training) for training in (ours, *others.values())] for _ in range(options.rounds)]
    middle = [statistics.median(column) for column in zip(*times, strict=True)]
    print(f"tier {here.name} on {here.device}, {recipe.size} pixels, batch {recipe.batch}, {options.rounds} rounds")
    print(f"ours: {1000 * middle[0]:.0f} ms a step (median), {2 * recipe.batch / middle[0]:.1f} images a second")
    for k, name in enumerate(others, 1):
        ratio = statistics.median(row[k] / row[0] for row in times)
        print(f"{name}: {1000 * middle[k]:.0f} ms; ratio to ours, round by round: {ratio:.2f}")
    rate = counter.get_total_flops() / middle[0]
    share = rate / matmul_rate(here.device, precision(here.device))
    print(f"{rate / 1e9:.1f} GFLOP/s, {100 * share:.0f}% of this machine's matrix product")


if __name__ == "__main__":
    main()
