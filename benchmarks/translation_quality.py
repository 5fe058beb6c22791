"""How good is the synthetic CT? Several seeds of patients, networks and batches; mean and range over the seeds.

    python benchmarks/translation_quality.py [--seeds 3] [--cases 40] [--models cyclegan paired published] [--steps 520]

Each seed draws its own patients, holds a fifth of them out, trains as the lab does, and tests on what was held out.
published: the step of the published code with the widths that the `cpu` tier had before, see translation_step.py.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from translation_step import BEFORE, Published

from mrctlib import metrics, setup
from mrctlib.data.cohorts import find_cases, real_pair, split_cases
from mrctlib.phantom.head import write_cohort
from mrctlib.phantom.imaging import noise_floor_hu
from mrctlib.runtime import peak_memory_mb, tier
from mrctlib.training.recipe import MODELS, PHANTOM_SHAPES, cohort_slices, recipe_for
from mrctlib.training.synthesis import synthesize
from mrctlib.training.translation import TranslationTraining


def scores_of(seed: int, cases: int, models: list[str], steps: int | None) -> dict[str, dict[str, float]]:
    """Mean metrics over the held-out patients, by method."""
    here = tier()
    with tempfile.TemporaryDirectory() as folder:
        cohort = find_cases(write_cohort(Path(folder) / "cohort", cases, seed, shape=PHANTOM_SHAPES[here.name]))
        train, test = split_cases(cohort, (0.8, 0.2), seed)
        pairs = [case.pair() for case in test]
        rows: dict[str, list[dict[str, float]]] = {}
        for mr, ct, body in pairs:
            for name, candidate in metrics.baselines(mr.data, ct.data, body).items():
                rows.setdefault(name, []).append(metrics.evaluate(ct.data, candidate, body))
        for model in models:
            recipe = recipe_for("paired" if model == "paired" else "cyclegan", here, seed=seed, steps=steps)
            if model == "published":
                recipe = replace(recipe, **BEFORE)
            game = Published if model == "published" else None
            training = TranslationTraining(recipe, *cohort_slices(train, recipe), here, game=game).run()
            rows[model] = [
                metrics.evaluate(ct.data, synthesize(training.averaged, mr, body, recipe).data, body)
                for mr, ct, body in pairs
            ]
            extra = {"seconds": training.seconds} | training.watched.look(training.averaged, training.game.learns_air)
            template = real_pair()
            if template:
                mr, ct, body = template.pair()
                extra["real_pair_mae"] = metrics.mae(
                    ct.data, synthesize(training.averaged, mr, body, recipe).data, body
                )
            rows[model][0] |= extra
            print(f"seed {seed}, {model}: " + ", ".join(f"{k} {v:.3g}" for k, v in extra.items()), flush=True)
    means = {}
    for method, values in rows.items():
        means[method] = {k: float(np.mean([v[k] for v in values if k in v])) for k in values[0]}
    return means


def main() -> None:
    setup()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--models", nargs="+", choices=[*MODELS, "published"], default=list(MODELS))
    parser.add_argument("--steps", type=int, help="of each training, in place of the tier's own number")
    options = parser.parse_args()
    results = [scores_of(seed, options.cases, options.models, options.steps) for seed in range(options.seeds)]
    where = f"tier {tier().name}, {os.cpu_count()} cores"
    print(f"{options.seeds} seeds, {options.cases} patients each, a fifth held out; {where}")
    print(f"{'method':<16}" + "".join(f"{name:>28}" for name in ("mae_hu", "psnr_db", "ssim", "bone_dice", "seconds")))
    for method in results[0]:
        line = f"{method:<16}"
        for name in ("mae_hu", "psnr_db", "ssim", "bone_dice", "seconds"):
            values = [r[method][name] for r in results if name in r[method]]
            line += f"{np.mean(values):>12.3f} [{min(values):.3f}, {max(values):.3f}]".rjust(28) if values else ""
        print(line)
    print(f"noise floor {noise_floor_hu():.1f} HU; peak memory of this process {peak_memory_mb():.0f} MB")


if __name__ == "__main__":
    main()
