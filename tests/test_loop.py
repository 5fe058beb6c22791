"""The loop: it goes on where it was killed to the same weights, belongs to its data, and saves no nonsense."""

import os
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mrctlib import losses
from mrctlib.course.one_way import OneWay, OneWayRecipe
from mrctlib.losses import Schedule
from mrctlib.runtime import InputError, seed_everything
from mrctlib.training.checkpoints import CHECKPOINT, read_checkpoint
from mrctlib.training.descent import Average, descend
from mrctlib.training.gan import play
from mrctlib.training.loop import Training
from mrctlib.training.recipe import CycleRecipe, Recipe, cohort_slices
from mrctlib.training.supervised import fit
from mrctlib.training.translation import TranslationTraining

SMALL = {"generator": "unet", "base": 4, "depth": 2, "spacing": 6.4, "size": 32, "batch": 2, "steps": 4, "rate": 2e-3,
         "average": 0.9, "watch_every": 2}  # fmt: skip
ADVERSARY = {"discriminator_base": 4, "discriminator_layers": 1, "discriminator_rate": 1e-3}
CYCLE = CycleRecipe(
    **SMALL | ADVERSARY, sees_depth=True, identity=Schedule(2, 2), mind=Schedule(2, 2), background=Schedule(2, 2),
    profile=Schedule(5, 1), noise=0.03, pool=3,
)  # fmt: skip


def line(rate=1e-2, **options):
    """A line that learns to double its input."""
    seed_everything(0)
    network = nn.Linear(1, 1)
    optimiser = torch.optim.SGD(network.parameters(), rate)

    def step(draw, done):
        x = torch.randn(16, 1, generator=draw("batch"))
        loss = ((network(x) - 2 * x) ** 2).mean()
        descend(optimiser, loss)
        return {"loss": loss}

    return Training(
        step, {"line": network}, {"line": optimiser}, **{"steps": 200, "watch_every": 50} | options
    ), network


def test_a_step_of_ones_own_learns():
    training, network = line(0.1)
    training.run()
    assert abs(float(network.weight.detach()) - 2) < 0.05
    assert [row["step"] for row in training.history] == [50, 100, 150, 200]
    assert training.history[-1]["loss"] < 0.1 * training.history[0]["loss"]


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(tmp_path):
    path = tmp_path / CHECKPOINT
    training, _ = line(checkpoint=path, steps=50)
    training.run()
    before = path.read_bytes()
    training, network = line(checkpoint=path, steps=100)
    with torch.no_grad():
        network.weight.fill_(float("nan"))
    with pytest.raises(InputError, match="loss is nan at step 100 .*checkpoint of step 50 is kept.*smaller rate"):
        training.run()
    assert path.read_bytes() == before
    training, network = line(checkpoint=path, steps=100)
    assert training.step == 50 and network.weight.isfinite().all()


def test_a_weight_that_is_not_finite_is_not_saved(tmp_path):
    """The loss is computed before the step: the last one may break the weights and still look fine."""
    training, network = line(checkpoint=tmp_path / CHECKPOINT, steps=50)
    with pytest.raises(InputError, match="weight of line is not finite"), torch.no_grad():
        step = training.take_step

        def last_breaks(draw, done):
            with torch.enable_grad():
                losses = step(draw, done)
            if training.step == 49:
                network.weight.fill_(float("inf"))
            return losses

        training.take_step = last_breaks
        training.run()
    assert not (tmp_path / CHECKPOINT).exists()


def test_more_steps_go_on_and_fewer_are_refused(tmp_path):
    training, _ = line(checkpoint=tmp_path / CHECKPOINT, steps=50)
    training.run()
    longer, _ = line(checkpoint=tmp_path / CHECKPOINT, steps=100)
    assert longer.step == 50 and longer.run().step == 100
    with pytest.raises(InputError, match="has taken 100 steps, more than 50"):
        line(checkpoint=tmp_path / CHECKPOINT, steps=50)


def test_seconds_are_those_of_training_alone(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("mrctlib.training.loop.time.perf_counter", lambda: clock[0])

    def pass_time(seconds):
        clock[0] += seconds
        return {}

    training, _ = line(watch=lambda: pass_time(1000), steps=100)
    step = training.take_step
    training.take_step = lambda draw, done: step(draw, done) | pass_time(1)
    training.run(lambda _: pass_time(1000))
    assert [row["seconds"] for row in training.history] == [50, 100], "neither looks nor what is done with them"


def test_the_average_follows():
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    model = Average(network, lambda step: 0.9)
    expected = 0.0
    for step, value in enumerate((1.0, 2.0, 3.0), 1):
        nn.init.constant_(network.weight, value)
        model.follow(network, step)
        expected = 0.9 * expected + 0.1 * value
    assert float(model.module.weight) == pytest.approx(expected)


# ---- killed at a chosen step


KILLED = """
import os, signal, sys, torch
sys.path.insert(0, {tests!r})
import test_loop
from mrctlib.training.loop import Training

take = Training.one_step
def one_step(self):
    if self.step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)  # no clean-up, no last word
    return take(self)
Training.one_step = one_step
torch.set_num_threads({threads})
test_loop.KINDS[{kind!r}]({folder!r}, {cohort!r})
"""


def _supervised(folder, cohort):
    seed_everything(0)
    network = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 2))
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    fit(network, x, (x.sum(1) > 0).long(), steps=12, watch_every=3, folder=folder)
    return [network]


def _gan(folder, cohort):
    seed_everything(0)
    players = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)), nn.Linear(1, 1)
    real = torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
    play(*players, real, noise=2, steps=12, watch_every=3, average=0.9, folder=folder)
    return players


def _cycle(folder, cohort):
    from mrctlib.data.cohorts import find_cases
    from mrctlib.runtime import Tier

    recipe = replace(CYCLE, steps=12, watch_every=3)
    slices = cohort_slices(find_cases(cohort), recipe)
    training = TranslationTraining(recipe, *slices, Tier("cpu", torch.device("cpu")), folder).run()
    return training.networks.values()


KINDS = {"supervised": _supervised, "gan": _gan, "cycle": _cycle}


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_a_chosen_step_and_resumed_is_the_same_to_the_bit(kind, cohort, tmp_path, monkeypatch):
    monkeypatch.setenv("MRCT_TIER", "cpu")
    folder = tmp_path / "run"
    told = {"kind": kind, "folder": str(folder), "cohort": str(cohort), "step": 8}
    script = KILLED.format(tests=os.path.dirname(__file__), threads=torch.get_num_threads(), **told)
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert child.returncode == -9, child.stderr[-2000:]
    assert read_checkpoint(folder / CHECKPOINT)[1]["step"] == 6
    resumed, straight = KINDS[kind](folder, cohort), KINDS[kind](None, cohort)
    assert read_checkpoint(folder / CHECKPOINT)[1]["step"] == 12
    for mine, other in zip(resumed, straight, strict=True):
        for name, value in other.state_dict().items():
            assert torch.equal(value, mine.state_dict()[name]), name


# ---- in reduced precision


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_every_loop_loss_and_game_takes_a_step_in_reduced_precision(cases, cpu, monkeypatch, precision):
    monkeypatch.setenv("MRCT_PRECISION", precision)
    x = torch.randn(32, 1, 8, 8)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    seen = []
    fit(network, x, torch.randint(2, (32,)), lambda y, t: seen.append(y.dtype) or nn.functional.cross_entropy(y, t),
        steps=2, here=cpu)  # fmt: skip
    assert set(seen) == {torch.float32}, "losses are computed in full"
    for loss in (losses.SATURATING, losses.NON_SATURATING, losses.LEAST_SQUARES, losses.HINGE, losses.WASSERSTEIN):
        for options in ({}, {"penalty": losses.gradient_penalty}, {"clip": 0.1, "critic_steps": 2}):
            players = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)), nn.Linear(3, 1)
            history = play(*players, torch.randn(64, 3), noise=2, steps=2, loss=loss, here=cpu, **options)
            assert np.isfinite(list(history[-1].values())).all()
    one_way = OneWayRecipe(**SMALL | ADVERSARY)
    kinds = [({}, None), ({"l1": 9.0}, None), ({"wasserstein": True},
             None), ({"wasserstein": True, "slope": True, "critic_steps": 2}, None)]  # fmt: skip
    recipes = [(CYCLE, None), (Recipe(**SMALL), None)] + [(replace(one_way, **kind), OneWay) for kind, _ in kinds]
    for recipe, game in recipes:
        training = TranslationTraining(recipe, *cohort_slices(cases, recipe), cpu, game=game).run()
        assert np.isfinite(list(training.history[-1].values())).all(), recipe


def test_float16_learns_with_one_scaler_leaves_out_what_overflows_and_goes_on_from_its_scale(monkeypatch, tmp_path):
    monkeypatch.setenv("MRCT_PRECISION", "float16")
    monkeypatch.setattr(torch.amp.GradScaler, "get_growth_interval", lambda self: 8)
    path = tmp_path / CHECKPOINT
    training, network = line(0.1, checkpoint=path, steps=100)
    assert training.scaler.is_enabled() and training.optimisers["line"].scaler is training.scaler
    training.run()
    assert abs(float(network.weight.detach()) - 2) < 0.1
    before, weight = training.scaler.get_scale(), network.weight.detach().clone()
    descend(training.optimisers["line"], 1e36 * network(torch.ones(1, 1)).mean() * 1e4)
    assert torch.equal(network.weight, weight) and training.scaler.get_scale() == before / 2
    training, _ = line(0.1, checkpoint=path, steps=200)
    assert training.step == 100 and training.scaler.get_scale() == before
    monkeypatch.setenv("MRCT_PRECISION", "float32")
    training, _ = line(0.1, checkpoint=path, steps=200)
    assert training.run().step == 200, "on another card it goes on as well"


class Waits(TorchDispatchMode):
    """Collects what would make the host wait for a GPU: a number read, or picked out by a mask."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        picks = [i for i in (args[1] if "index" in str(function) and len(args) > 1 else []) or [] if i is not None]
        reads = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal.default")
        if any(name in str(function) for name in reads) or any(getattr(i, "dtype", 0) == torch.bool for i in picks):
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device(cases, cpu, monkeypatch):
    """The optimisers are left out: on a GPU others do their work, fused ones."""
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: None)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    one_way = OneWayRecipe(**SMALL | ADVERSARY)
    kinds = [({}, OneWay), ({"l1": 9.0}, OneWay)]
    recipes = [(CYCLE, None), (Recipe(**SMALL), None), *((replace(one_way, **kind), game) for kind, game in kinds)]
    for recipe, game in recipes:
        training = TranslationTraining(recipe, *cohort_slices(cases, recipe), cpu, game=game)
        with Waits() as waits:
            training.one_step()
        assert waits.found == [], recipe
    take = Training.one_step

    def watched(self):
        with Waits() as waits:
            losses = take(self)
        assert waits.found == []
        return losses

    monkeypatch.setattr(Training, "one_step", watched)
    KINDS["supervised"](None, None)
    KINDS["gan"](None, None)
    with Waits() as waits:
        float(torch.ones(2)[torch.ones(2) > 0].sum())
    assert len(waits.found) >= 2, "it would be noticed"


def test_generators_end_in_float32():
    from mrctlib.training.recipe import build_generator

    for generator in ("unet", "resnet"):
        network = build_generator(replace(CYCLE, generator=generator))
        with torch.autocast("cpu", torch.bfloat16):
            made = network(torch.rand(1, 1, 32, 32))
        assert made.dtype == torch.float32
        # bfloat16 has 8 bits: a picture in it would use few of the values between.
        assert len(made.unique()) > 900


def test_the_gradient_penalty_takes_fakes_of_another_precision():
    critic = nn.Linear(4, 1)
    fake = torch.randn(3, 4, dtype=torch.bfloat16)
    assert losses.gradient_penalty(critic, torch.randn(3, 4), fake).dtype == torch.float32


# ---- under a name


def test_a_training_with_a_name_is_found_again_and_no_other_is(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCT_CHECKPOINTS", str(tmp_path))

    def train(name="points", seed=0, data=0, **options):
        seed_everything(seed)
        network = nn.Linear(2, 2)
        x = torch.randn(64, 2, generator=torch.Generator().manual_seed(data))
        before = len(list(tmp_path.glob("*/*")))
        history = fit(network, x, (x[:, 0] > 0).long(), name=name, **{"steps": 4} | options)
        return network.weight.detach(), history, len(list(tmp_path.glob("*/*"))) - before

    def halved(scores, classes):
        return nn.functional.cross_entropy(scores, classes) / 2

    weight, history, new = train()
    assert new == 1
    again, same, new = train()
    assert new == 0 and same == history and torch.equal(again, weight)
    for other in ({"name": "other"}, {"seed": 1}, {"data": 1}, {"steps": 5}, {"batch": 8}, {"loss": halved}):
        assert train(**other)[2] == 1, other
    assert train(name=None)[2] == 0, "without a name nothing is kept"
    assert train(watch=lambda network: {})[2] == 0, "what is watched runs again"


def test_what_is_drawn_afterwards_does_not_depend_on_whether_it_ran(tmp_path):
    def draw():
        _supervised(tmp_path, None)
        return torch.rand(3)

    assert torch.equal(draw(), draw())


def test_two_processes_train_one_model(cohort, tmp_path):
    """Two processes with a batch each, as torchrun starts them, end with the same weights."""
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, torch
            sys.path.insert(0, {os.path.dirname(__file__)!r})
            import test_loop
            from mrctlib.runtime import processes
            networks = test_loop.KINDS["cycle"](sys.argv[1], sys.argv[2])
            total = sum(p.detach().double().sum() for network in networks for p in network.parameters())
            sums = [torch.zeros_like(total) for _ in range(processes()[1])]
            torch.distributed.all_gather(sums, total)
            assert len(sums) == 2 and sums[0] == sums[1], sums
            """
        )
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run(
        [*launch, str(script), str(tmp_path / "run"), str(cohort)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MRCT_TIER": "cpu"},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert read_checkpoint(tmp_path / "run" / CHECKPOINT)[1]["step"] == 12
