"""Training: it goes on where it was killed to the same weights, it learns, and it says when it drifts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from notebook_code import defined_in
from safetensors.torch import save_file

from mrctlib import metrics
from mrctlib.data.cohorts import find_cases
from mrctlib.data.volumes import Volume
from mrctlib.losses import Schedule
from mrctlib.phantom import head
from mrctlib.runtime import InputError, Tier
from mrctlib.training.checkpoints import CHECKPOINT, read_checkpoint
from mrctlib.training.cyclegan import CycleGan
from mrctlib.training.recipe import CycleRecipe, Recipe, cohort_slices, recipe_for
from mrctlib.training.synthesis import load_generator, synthesize
from mrctlib.training.translation import TranslationTraining, drift_alarms

TINY = CycleRecipe(
    generator="unet",
    base=4,
    depth=2,
    discriminator_base=4,
    discriminator_layers=1,
    sees_depth=True,
    spacing=6.4,
    size=32,
    batch=2,
    steps=12,
    rate=2e-3,
    discriminator_rate=1e-3,
    cycle=Schedule(5, 5),
    identity=Schedule(2, 0, until=0.5),
    mind=Schedule(2, 2),
    background=Schedule(2, 2),
    profile=Schedule(5, 1),
    noise=0.03,
    pool=3,
    average=0.9,
    watch_every=4,
)


@pytest.fixture(scope="module")
def slices(cases):
    return cohort_slices(cases, TINY)


def test_every_term_is_finite_and_reported(slices, cpu):
    training = TranslationTraining(TINY, *slices, cpu).run()
    assert [row["step"] for row in training.history] == [4, 8, 12]
    terms = {"gan", "cycle", "identity", "mind", "background", "profile", "discriminator"}
    assert terms <= set(training.history[0])
    assert all(np.isfinite(list(row.values())).all() for row in training.history)


def test_an_interrupted_training_says_where_it_goes_on(slices, cpu, tmp_path):
    def interrupt(training):
        if training.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="stopped at step 8 of 12; run this again to go on from step 8"):
        TranslationTraining(TINY, *slices, cpu, tmp_path).run(interrupt)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 8 of 12; run this again to go on from step 0"):
        TranslationTraining(TINY, *slices, cpu).run(interrupt)  # without a folder nothing is kept


def test_the_paired_model_learns_fast(cases, cpu):
    small = {name: getattr(TINY, name) for name in ("base", "depth", "generator", "spacing", "size", "rate", "average")}
    recipe = Recipe(**small | {"base": 8}, steps=300, watch_every=30, batch=4)
    training = TranslationTraining(recipe, *cohort_slices(cases[:5], recipe), cpu).run()
    assert training.history[-1]["l1"] < 0.7 * training.history[0]["l1"]
    assert training.history[-1]["background_hu"] == -1000  # put there, not learned: no alarm
    mr, ct, body = cases[5].pair()
    sct = synthesize(training.averaged, mr, body, recipe)
    baselines = metrics.baselines(mr.data, ct.data, body)
    assert metrics.mae(ct.data, sct.data, body) < 0.9 * metrics.mae(ct.data, baselines["best line"], body)


def test_synthesis_returns_to_the_grid_it_came_from(cases):
    class Copy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x

    mr, _, body = cases[0].pair()
    for spacing in (6.4, 4.0):
        sct = synthesize(Copy(), mr, body, replace(TINY, spacing=spacing))
        assert sct.data.shape == mr.data.shape and np.array_equal(sct.affine, mr.affine) and sct.axes == mr.axes
        assert (sct.data[~body] == -1000).all()
        top = np.percentile(mr.data[body], 99.5)
        expected = np.clip(mr.data / top, 0, 1)[body] * 2500 - 1000
        assert np.corrcoef(sct.data[body], expected)[0, 1] > (0.999 if spacing == 6.4 else 0.9)
    # A body larger than the training window is not cut.
    large = synthesize(Copy(), mr, body, replace(TINY, size=16))
    np.testing.assert_allclose(large.data, synthesize(Copy(), mr, body, TINY).data, atol=1e-3)


def test_a_diverged_network_is_refused(cases):
    class Broken(torch.nn.Conv2d):
        def forward(self, x):
            return x * float("nan")

    mr, _, body = cases[0].pair()
    with pytest.raises(InputError, match="diverged"):
        synthesize(Broken(1, 1, 1), mr, body, TINY)


def test_checkpoints_of_another_kind_are_refused(slices, cpu, tmp_path):
    TranslationTraining(replace(TINY, steps=4), *slices, cpu, tmp_path).run()
    with pytest.raises(InputError, match="another training .*recipe"):
        TranslationTraining(replace(TINY, steps=4, generator="resnet"), *slices, cpu, tmp_path)
    mr, ct = slices
    fewer = replace(mr, about=mr.about[1:])
    with pytest.raises(InputError, match="another training .*patients"):
        TranslationTraining(replace(TINY, steps=4), fewer, ct, cpu, tmp_path)
    path = tmp_path / CHECKPOINT
    tensors, about = read_checkpoint(path)
    about["belongs_to"]["recipe"]["generator"] = "resnet"
    save_file(tensors, path, metadata={"about": json.dumps(about)})
    with pytest.raises(InputError, match="do not fit"):
        load_generator(tmp_path)
    for damage in (b"not safetensors", path.read_bytes()[:1000], b""):
        path.write_bytes(damage)
        with pytest.raises(InputError, match="is not a checkpoint"):
            load_generator(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="no checkpoint there"):
        load_generator(tmp_path)


def test_a_full_disk_leaves_the_old_checkpoint(slices, cpu, tmp_path, monkeypatch):
    training = TranslationTraining(replace(TINY, steps=4), *slices, cpu, tmp_path).run()
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mrctlib.training.checkpoints.save_file", full)
    with pytest.raises(InputError, match="No space left"):
        training.save()
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]


def test_too_few_slices(slices, cpu):
    with pytest.raises(InputError, match="fewer than a batch"):
        TranslationTraining(replace(TINY, batch=10_000), *slices, cpu)


def test_drift_is_noticed():
    fine = {"mr_correlation": 0.0, "bone_ratio": 1.1, "background_hu": -990.0}
    assert drift_alarms([fine]) == []
    assert "copies" in drift_alarms([fine | {"mr_correlation": 0.9}])[0]
    assert "drifts back" in drift_alarms([fine, fine | {"mr_correlation": 0.4}])[0]
    assert "bone" in drift_alarms([fine | {"bone_ratio": 0.1}])[0]
    assert "air" in drift_alarms([fine | {"background_hu": -500.0}])[0]


def test_hidden_information_is_found():
    (hidden_information,) = defined_in("labs/08_mr_to_ct_cyclegan.ipynb", "hidden_information")
    torch.manual_seed(0)
    mr = torch.rand(2, 1, 16, 16) * 2 - 1

    def honest(x):
        return -x

    def hide(x):  # the MR at a hundredth of its strength: invisible
        return 0.01 * x

    def unhide(x):
        return 100 * x

    assert hidden_information(hide, unhide, mr)["gap"] > 1e3
    open_cycle = hidden_information(honest, lambda x: -0.9 * x, mr)
    assert open_cycle["gap"] < 2


@pytest.mark.parametrize("model", ["cyclegan", "paired"])
def test_the_full_recipe_steps_on_a_cpu(cases, model):
    """The full networks at 256 pixels make one step; sizes as on a GPU, one slice at a time to stay small."""
    tier = Tier("gpu", torch.device("cpu"))
    recipe = replace(recipe_for(model, tier, full=True, steps=1), batch=1, watch_every=1)
    assert (recipe.size, recipe.generator, recipe.base, recipe.depth) == (256, "resnet", 64, 9)
    recipe = replace(recipe, size=64, spacing=6.4)  # the same networks; a 256 pixel step takes a minute here
    mr, ct = cohort_slices(cases[:2], recipe)
    training = TranslationTraining(recipe, mr, ct, tier).run()
    assert np.isfinite(list(training.history[-1].values())).all()


def test_the_same_folder_with_another_contrast_is_another_training(cpu, tmp_path):
    """The same names, the same numbers, other images."""
    folder, recipe = tmp_path / "patients", replace(TINY, steps=4)
    head.write_cohort(folder, 4, seed=1, shape=(40, 40, 24), contrast="t1w")
    TranslationTraining(recipe, *cohort_slices(find_cases(folder), recipe), cpu, tmp_path / "run").run()
    head.write_cohort(folder, 4, seed=1, shape=(40, 40, 24), contrast="t2w", force=True)
    with pytest.raises(InputError, match="another training .*patients"):
        TranslationTraining(recipe, *cohort_slices(find_cases(folder), recipe), cpu, tmp_path / "run")


def test_recipes_survive_json():
    recipe = recipe_for("cyclegan", Tier("cpu", torch.device("cpu")), seed=3)
    assert CycleRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert recipe.rate_at(0) == 1 and recipe.rate_at(1) == 0
    with pytest.raises(InputError, match="choose one of"):
        recipe_for("diffusion", Tier("cpu", torch.device("cpu")))


def test_an_unusual_volume_goes_all_the_way(cases, cpu, slices):
    """Left-handed, anisotropic, odd sizes: synthesis still lands on the voxels of the file."""
    training = TranslationTraining(replace(TINY, steps=1), *slices, cpu).run()
    mr, _, body = cases[0].pair()
    odd = Volume(mr.data[1:, :-2, 3:], mr.affine @ np.diag([1, 1, 1, 1.0]), axes="PIL")
    sct = synthesize(training.averaged, odd, body[1:, :-2, 3:], TINY)
    assert sct.data.shape == odd.data.shape and sct.axes == "PIL"


MOVES = {  # each move of the CycleGAN, got wrong
    "least_squares_gan": lambda scores, real, weight: (scores - 3).square().mean(),
    "round_trip": lambda x, there, back, noise: (there(x), back(there(x)) + 1),
    "generators_loss": lambda judge, fakes, real, returned: {"gan": -judge("ct", fakes["ct"], True)},
    "remember": lambda kept, fakes, capacity, slots: torch.zeros_like(fakes),
    "discriminators_loss": lambda judge, fakes, real: judge("ct", real["ct"], False),
    "take_step": lambda discriminators, optimisers, turn, other: other(turn()[1]),
}


@pytest.mark.parametrize("move", MOVES)
def test_what_a_student_writes_is_what_trains(slices, cpu, move):
    class Mine(CycleGan):
        pass

    recipe = replace(TINY, identity=Schedule(0, 0), steps=3)
    ours, same = (TranslationTraining(recipe, *slices, cpu, game=game).run() for game in (CycleGan, Mine))
    setattr(Mine, move, staticmethod(MOVES[move]))
    other = TranslationTraining(recipe, *slices, cpu, game=Mine).run()
    weights = [[p for n in run.networks.values() for p in n.parameters()] for run in (ours, same, other)]
    ours, same, other = (torch.nn.utils.parameters_to_vector(every) for every in weights)
    assert torch.equal(ours, same) and not torch.equal(ours, other)
