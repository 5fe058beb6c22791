"""How far does what is learned on phantoms alone carry? Trained on varied phantom patients, tested on the real pair.

    MRCT_DATA=... python benchmarks/real_pair.py [--seeds 3] [--cases 60] [--models paired cyclegan] [--steps N]

The real pair is the template in MRCT_DATA/mr_ct (TEACHING.md: how anybody gets it): averages of many people, so their
CT is blurred and their skull no denser than 770 HU. One head: what is found here is no claim about patients. Beside it,
in the same units, unseen phantom patients of the same ranges. The ranges of `Variation` are fixed before this is run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from mrctlib import metrics, setup
from mrctlib.data.cohorts import find_cases, real_pair, split_cases
from mrctlib.phantom.head import write_cohort
from mrctlib.runtime import tier
from mrctlib.training.recipe import MODELS, PHANTOM_SHAPES, cohort_slices, recipe_for
from mrctlib.training.synthesis import synthesize
from mrctlib.training.translation import TranslationTraining


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--cases", type=int, default=60)
    options.add_argument("--models", nargs="+", choices=MODELS, default=["paired", "cyclegan"])
    options.add_argument("--steps", type=int)
    asked = options.parse_args()
    setup()
    here, template = tier(), real_pair()
    if template is None:
        options.error("the real pair is missing: point MRCT_DATA at a folder that holds mr_ct/1MNI01")
    mr, ct, body = template.pair()
    water = metrics.mae(ct.data, np.zeros_like(ct.data), body)
    print(f"real pair, all water: {water:.1f} HU")
    found: dict[str, list[tuple[float, float, float]]] = {model: [] for model in asked.models}
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory() as folder:
            shape = PHANTOM_SHAPES[here.name]
            cohort = write_cohort(Path(folder) / "c", asked.cases, seed, shape=shape, contrast="mprage", vary=True)
            train, test = split_cases(find_cases(cohort), (0.8, 0.2), seed)
            for model in asked.models:
                recipe = recipe_for(model, here, seed=seed, steps=asked.steps)
                training = TranslationTraining(recipe, *cohort_slices(train, recipe), here).run()
                scores = []
                for pairs in ([(mr, ct, body)], [case.pair() for case in test]):
                    fakes = [synthesize(training.averaged, m, b, recipe).data for m, _, b in pairs]
                    both = zip(pairs, fakes, strict=True)
                    scores.append(float(np.mean([metrics.mae(c.data, fake, b) for (_, c, b), fake in both])))
                found[model].append((*scores, training.seconds))
                outcome = f"real {scores[0]:.1f} HU, phantoms {scores[1]:.1f} HU, {training.seconds:.0f} s"
                print(f"seed {seed}, {model}: {outcome}", flush=True)
    for model, rows in found.items():
        real, phantom, seconds = np.array(rows).T
        print(f"{model}: real pair {real.mean():.1f} HU ({real.min():.1f} to {real.max():.1f}), unseen phantoms "
              f"{phantom.mean():.1f}, training {np.median(seconds):.0f} s; all water {water:.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
