"""Training: it goes on where it was killed to the same weights, it learns, and it says when it drifts."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mrctlib import metrics
from mrctlib.data.volumes import Volume
from mrctlib.losses import Schedule
from mrctlib.runtime import InputError, Tier
from mrctlib.training.checkpoints import CHECKPOINT, read_checkpoint
from mrctlib.training.games import Recipe, cohort_slices, recipe_for
from mrctlib.training.synthesis import load_generator, synthesize
from mrctlib.training.translation import TranslationTraining, drift_alarms, hidden_information

TINY = Recipe(
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
    return cohort_slices(cases, TINY)[1:]


def weights(training: TranslationTraining) -> dict[str, torch.Tensor]:
    return {f"{m}/{k}": v for m, net in training.modules_by_name().items() for k, v in net.state_dict().items()}


def test_every_term_is_finite_and_reported(slices, cpu):
    training = TranslationTraining(TINY, *slices, cpu).run()
    assert [row["step"] for row in training.history] == [4, 8, 12]
    terms = {"gan", "cycle", "identity", "mind", "background", "profile", "discriminator"}
    assert terms <= set(training.history[0])
    assert all(np.isfinite(list(row.values())).all() for row in training.history)


def test_stopped_and_resumed_is_the_same_as_never_stopped(slices, cpu, tmp_path):
    straight = TranslationTraining(TINY, *slices, cpu).run()

    class Stop(Exception):
        pass

    def stop_at_8(training):
        if training.step == 8:
            raise Stop

    with pytest.raises(Stop):
        TranslationTraining(TINY, *slices, cpu, tmp_path).run(stop_at_8)
    resumed = TranslationTraining(TINY, *slices, cpu, tmp_path)
    assert resumed.step == 8
    resumed.run()
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert [r["step"] for r in resumed.history] == [r["step"] for r in straight.history]


def test_an_interrupted_training_says_where_it_goes_on(slices, cpu, tmp_path):
    def interrupt(training):
        if training.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="stopped at step 8 of 12; run this again to go on from step 8"):
        TranslationTraining(TINY, *slices, cpu, tmp_path).run(interrupt)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 8 of 12; run this again to go on from step 0"):
        TranslationTraining(TINY, *slices, cpu).run(interrupt)  # without a folder nothing is kept


def test_killed_with_sigkill_at_a_random_moment_and_resumed(slices, cohort, cpu, tmp_path):
    """A child process is killed; what it left is whole, and going on from it gives the weights of an unbroken run."""
    recipe = replace(TINY, steps=60, watch_every=3)
    script = textwrap.dedent(
        """
        import json, sys, torch
        from mrctlib.data.cohorts import find_cases
        from mrctlib.runtime import Tier
        from mrctlib.training.games import Recipe, cohort_slices
        from mrctlib.training.translation import TranslationTraining
        torch.set_num_threads(int(sys.argv[4]))
        recipe = Recipe.from_json(json.loads(sys.argv[1]))
        slices = cohort_slices(find_cases(sys.argv[2]), recipe)[1:]
        TranslationTraining(recipe, *slices, Tier("cpu", torch.device("cpu")), sys.argv[3]).run()
        """
    )
    command = [sys.executable, "-c", script, json.dumps(recipe.to_json()), str(cohort), str(tmp_path)]
    child = subprocess.Popen([*command, str(torch.get_num_threads())], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (tmp_path / CHECKPOINT).exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.02)
    time.sleep(np.random.default_rng().uniform(0, 1.0))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    resumed = TranslationTraining(recipe, *slices, cpu, tmp_path)
    assert 0 < resumed.step <= recipe.steps
    resumed.run()
    straight = TranslationTraining(recipe, *slices, cpu).run()
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), f"{name}, killed at {resumed.step}"


def test_the_paired_model_learns_fast(cases, cpu):
    recipe = replace(TINY, model="paired", steps=300, watch_every=30, batch=4)
    training = TranslationTraining(recipe, *cohort_slices(cases[:5], recipe)[1:], cpu).run()
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
    with pytest.raises(InputError, match="another recipe .*generator"):
        TranslationTraining(replace(TINY, steps=4, generator="resnet"), *slices, cpu, tmp_path)
    mr, ct = slices
    fewer = replace(mr, **{name: getattr(mr, name)[1:] for name in ("images", "depths", "heights", "patients")})
    with pytest.raises(InputError, match="other patients"):
        TranslationTraining(replace(TINY, steps=4), fewer, ct, cpu, tmp_path)
    path = tmp_path / CHECKPOINT
    tensors, about = read_checkpoint(path)
    about["recipe"]["generator"] = "resnet"
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
def test_the_gpu_recipe_steps_on_a_cpu(cases, model):
    """The full networks at 256 pixels make one step; sizes as on a GPU, one slice at a time to stay small."""
    tier = Tier("gpu", torch.device("cpu"))
    recipe = replace(recipe_for(model, tier, steps=1), batch=1, watch_every=1)
    assert (recipe.size, recipe.generator, recipe.base, recipe.depth) == (256, "resnet", 64, 9)
    recipe = replace(recipe, size=64, spacing=6.4)  # the same networks; a 256 pixel step takes a minute here
    _, mr, ct = cohort_slices(cases[:2], recipe)
    training = TranslationTraining(recipe, mr, ct, tier).run()
    assert np.isfinite(list(training.history[-1].values())).all()


def test_recipes_survive_json():
    recipe = recipe_for("cyclegan", Tier("cpu", torch.device("cpu")), seed=3)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
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


def test_two_processes_train_one_model(cohort, tmp_path):
    """Two processes with a batch each (torchrun, as `accelerate launch` starts them) end with the same weights."""
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(
            """
            import json, sys, torch
            from mrctlib.data.cohorts import find_cases
            from mrctlib.runtime import Tier
            from mrctlib.training.games import Recipe, cohort_slices
            from mrctlib.training.translation import TranslationTraining
            recipe = Recipe.from_json(json.loads(sys.argv[1]))
            slices = cohort_slices(find_cases(sys.argv[2]), recipe)[1:]
            training = TranslationTraining(recipe, *slices, Tier("cpu", torch.device("cpu")), sys.argv[3]).run()
            sums = training.accelerator.gather(sum(p.double().sum() for p in training.averaged.parameters())[None])
            assert len(sums) == 2 and sums[0] == sums[1], sums
            """
        )
    )
    recipe = json.dumps(replace(TINY, steps=4).to_json())
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run(
        [*launch, str(script), recipe, str(cohort), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT)[1]["step"] == 4
