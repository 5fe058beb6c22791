"""The comparison: every method under the same conditions, one part away at a time, and rows that are not run twice."""

import json

import numpy as np
import pytest
from matplotlib import pyplot as plt

from mrctlib import cli
from mrctlib.course import comparison
from mrctlib.course.comparison import GENERATORS, compare, drifted, methods, run, summary
from mrctlib.phantom.head import write_cohort
from mrctlib.runtime import InputError, tier


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("ten") / "cohort", 10, seed=5, shape=(40, 40, 24))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setenv("MRCT_TIER", "cpu")


def test_what_gpus_made_of_it_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "files", lambda name: tmp_path)
    assert comparison.on_gpus() == []
    (tmp_path / "results" / "gpu").mkdir(parents=True)
    for card in ("T4", "L4"):
        (tmp_path / "results" / "gpu" / f"{card}.json").write_text(json.dumps({"card": card}))
    assert [result["card"] for result in comparison.on_gpus()] == ["L4", "T4"]


@pytest.mark.parametrize("generator", GENERATORS)
def test_all_methods_have_one_budget(generator, cpu):
    recipes = methods(cpu, generator, seed=3)
    for name in ("generator", "base", "depth", "steps", "batch", "size", "spacing", "seed", "average"):
        assert len({getattr(recipe, name) for recipe in recipes.values()}) == 1, name
    for name in ("discriminator_base", "discriminator_layers"):
        assert len({getattr(recipe, name) for recipe in recipes.values() if hasattr(recipe, name)}) == 1, name
    thesis = recipes["CycleGAN of the thesis"]
    weights = {
        name: getattr(thesis, name).start for name in ("gan", "cycle", "identity", "mind", "background", "profile")
    }
    assert list(weights.values()) == [1, 10, 1, 0, 0, 0] and not thesis.sees_depth


def test_one_part_away_at_a_time(cpu):
    """Beside the whole each lacks one thing, and no other number differs."""
    recipes = methods(cpu)
    whole = recipes["CycleGAN, all helps"].to_json()
    lacking = {name: recipe.to_json() for name, recipe in recipes.items() if name.startswith("no ")}
    differ = {name: {key for key in whole if told[key] != whole[key]} for name, told in lacking.items()}
    expected = ["gan"], ["cycle"], ["mind"], ["profile"], ["sees_depth"], ["noise"]
    assert list(differ.values()) == [set(parts) for parts in expected]
    assert not any(name.startswith("no ") for name in methods(cpu, "resnet"))


def test_rates_are_those_that_did_best_on_the_watched_patients(cpu, monkeypatch):
    names = comparison.untuned(cpu, "unet")
    errors = {name: {"0.5": 90.0, "1": 80.0, "3": 85.0} for name in names} | {
        "GAN": {"0.5": 70.0, "1": 80.0, "3": 71.0}
    }
    monkeypatch.setattr(comparison, "stored", lambda name: json.dumps({"errors": errors}))
    tuned = methods(cpu)
    for name, recipe in names.items():
        times = 0.5 if name == "GAN" else 1
        assert tuned[name].rate == times * recipe.rate, name
    assert tuned["GAN"].discriminator_rate == 0.5 * names["GAN"].discriminator_rate
    assert tuned["no MIND"].rate == tuned["CycleGAN, all helps"].rate


def test_unknown_generator(cpu):
    with pytest.raises(InputError, match="transformer"):
        methods(cpu, "transformer")


def test_a_run_says_what_it_reached_and_what_it_cost(ten, tmp_path):
    row = run(ten, tmp_path, "supervised", "unet", 0, 20)
    assert len(list((tmp_path / "sct").iterdir())) == 1, "one of ten patients is tested"
    assert 0 < row["mae_hu"] < 600 and row["seconds"] > 0 and row["peak_memory_mb"] > 100
    assert {*comparison.AVERAGED, "shine_real_hu"} <= set(row)
    steps = [look["step"] for look in row["progress"]]
    assert steps == list(range(2, 21, 2)) and row["progress"][-1]["mae_hu"] < row["progress"][0]["mae_hu"]
    assert json.loads((tmp_path / "row.json").read_text()) == row
    assert len(list(tmp_path.glob("look_*.npy"))) == 10


def test_command_runs_each_row_once(ten, tmp_path, monkeypatch, capsys):
    only = {"supervised"}
    everything = methods
    chosen = lambda *a, **k: {n: m for n, m in everything(*a, **k).items() if n in only}  # noqa: E731
    monkeypatch.setattr(comparison, "methods", chosen)
    command = ["compare", str(ten), "--out", str(tmp_path), "--generator", "unet", "--seeds", "1", "--steps", "4"]
    assert cli.main(command) == 0
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert told["about"]["tier"] == "cpu" and told["about"]["data"]["seed"] == 5
    assert [row["method"] for row in told["rows"]] == ["supervised"]
    for name in ("figure.png", "parts.png", "progression.png", "drift.png"):
        drawn = plt.imread(tmp_path / name)
        assert (
            min(drawn.shape[:2]) > 100 and np.atleast_3d(drawn)[..., 0].std() > 0.1
        )  # a picture, and not an empty one
    monkeypatch.setattr(comparison, "run", None)  # a second run would fail
    assert cli.main(command) == 0
    assert "HU" in capsys.readouterr().out
    assert cli.main([*command[:-1], "5"]) == 2
    assert "steps 4, not 5" in capsys.readouterr().err


def test_cohort_too_small(cohort, tmp_path):
    with pytest.raises(InputError, match="too few cases"):
        compare(cohort, tmp_path, ["unet"], [0])


def test_summary_and_drift():
    rows = [
        {"method": "a", "generator": "unet", "seed": seed, "steps": 2, "mae_hu": error}
        | dict.fromkeys(set(comparison.AVERAGED) - {"mae_hu"}, 1.0)
        | {"progress": [{"mae_hu": 100.0}, {"mae_hu": 100.0 + 20 * seed}]}
        for seed, error in ((0, 90.0), (1, 110.0))
    ]
    assert [drifted(row) for row in rows] == [1.0, 1.2]
    (row,) = summary(rows)
    assert (row["mae_hu"], row["mae_low"], row["mae_high"], row["drift"], row["seeds"]) == (100, 90, 110, 1.2, 2)


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_stored_comparison_shows_what_lab_8_says(generator):
    rows = [row for row in json.loads(comparison.stored("comparison.json"))["rows"] if row["generator"] == generator]
    assert {row["method"] for row in rows} == set(methods(tier(), generator))
    assert {row["seed"] for row in rows} == {0, 1, 2}
    by_name = {row["method"]: row for row in summary(rows)}
    whole, paired = by_name["CycleGAN, all helps"], by_name["supervised"]
    assert whole["mae_hu"] < by_name["CycleGAN of the thesis"]["mae_hu"] - 100
    assert whole["drift"] < 1.1 and paired["mae_hu"] < 0.7 * whole["mae_hu"]


def test_the_stored_pictures():
    for name in ("figure.png", "parts.png", "progression.png"):
        assert comparison.stored(name).startswith(b"\x89PNG")
