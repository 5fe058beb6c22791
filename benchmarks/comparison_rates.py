"""Which learning rates does each method of the comparison want? Tuned alike, on the patients who are only watched.

    python benchmarks/comparison_rates.py COHORT [--out out/comparison/rates] [--into rates.json] [--steps N]

Every method, with the U-Net, trains as in the comparison with both of its rates multiplied by each of `RATES`, with a
seed that the comparison does not use. The error at the end, in slices of the watched patients, goes into rates.json,
where `comparison.methods` looks. Goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mrctlib import setup
from mrctlib.course import comparison
from mrctlib.data.cohorts import find_cases, split_cases
from mrctlib.runtime import tier, whole_file

SEED = 100
FILE = Path(comparison.__file__).parent / "results" / "rates.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/comparison/rates"))
    parser.add_argument("--into", type=Path, default=FILE, help="default: where the comparison looks")
    parser.add_argument("--steps", type=int, help="of each training; default: as in the comparison")
    asked = parser.parse_args()
    setup()
    training, watched, _ = split_cases(find_cases(asked.cohort), comparison.SHARES)
    errors: dict[str, dict[str, float]] = {}
    for name, recipe in comparison.untuned(tier(), "unet", seed=SEED, steps=asked.steps).items():
        for times in comparison.RATES:
            folder = asked.out / f"{name} {times:.2f}"
            history = comparison.train(comparison.at_rates(recipe, times), training, watched, folder).history
            errors.setdefault(name, {})[str(times)] = round(history[-1]["mae_hu"], 1)
            print(f"{name:<24} rates times {times:.2f}: {history[-1]['mae_hu']:.1f} HU", flush=True)
    about = {"cohort": comparison.cohort_digest(asked.cohort), "seed": SEED, "watched": [case.name for case in watched]}
    with whole_file(asked.into, force=True) as part:
        part.write_text(json.dumps(about | {"errors": errors}, indent=1) + "\n")


if __name__ == "__main__":
    main()
