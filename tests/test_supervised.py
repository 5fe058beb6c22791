"""The supervised loop: it learns, repeats, goes on after a kill, and says no in one line."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mrctlib.runtime import InputError, seed_everything
from mrctlib.training.checkpoints import CHECKPOINT
from mrctlib.training.engine import warm_up_and_cosine
from mrctlib.training.supervised import accuracy, fit, predict


@pytest.fixture(scope="module")
def rings():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(400, 2, generator=generator)
    return points, (points.norm(dim=1) > 1.2).long()


def network(seed: int = 0) -> nn.Module:
    seed_everything(seed, "weights")
    return nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2))


def test_it_learns_what_a_line_cannot(rings, cpu):
    net = network()
    history = fit(net, *rings, steps=300, rate=1e-2, here=cpu, watch=lambda n: {"accuracy": accuracy(n, *rings)})
    assert history[-1]["loss"] < 0.3 * history[0]["loss"] or history[-1]["accuracy"] > 0.95
    assert history[-1]["accuracy"] == accuracy(net, *rings) > 0.95
    assert [row["step"] for row in history] == [50, 100, 150, 200, 250, 300]
    assert not net.training


def test_the_same_seed_gives_the_same_weights(rings, cpu):
    runs = [network() for _ in range(3)]
    for net, seed in zip(runs, (0, 0, 1), strict=True):
        fit(net, *rings, steps=20, here=cpu, seed=seed)
    a, b, c = (torch.cat([p.flatten() for p in net.parameters()]) for net in runs)
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_killed_training_goes_on_to_the_same_weights(rings, cpu, tmp_path):
    whole = network()
    fit(whole, *rings, steps=40, watch_every=10, here=cpu)

    class Killed(Exception):
        pass

    def kill_at_30(net):
        looks.append(1)
        if len(looks) == 3:
            raise Killed
        return {}

    looks: list[int] = []
    with pytest.raises(Killed):
        fit(network(), *rings, steps=40, watch_every=10, here=cpu, folder=tmp_path, watch=kill_at_30)
    resumed = network(seed=9)  # its own weights do not matter: the checkpoint's do
    history = fit(resumed, *rings, steps=40, watch_every=10, here=cpu, folder=tmp_path)
    assert [row["step"] for row in history] == [10, 20, 30, 40]
    for mine, other in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, other)
    again = fit(resumed, *rings, steps=40, watch_every=10, here=cpu, folder=tmp_path)
    assert again == history  # over already: nothing is trained twice
    with pytest.raises(InputError, match="another training"):
        fit(network(), *rings, steps=41, here=cpu, folder=tmp_path)
    with pytest.raises(InputError, match="another network"):
        fit(nn.Linear(2, 2), *rings, steps=40, here=cpu, folder=tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")
    with pytest.raises(InputError, match="is not a checkpoint"):
        fit(network(), *rings, steps=40, here=cpu, folder=tmp_path)


def test_a_time_budget_is_kept(rings, cpu):
    history = fit(network(), *rings, seconds=0.5, here=cpu)
    assert 0.5 <= history[-1]["seconds"] < 1.5


def test_augmentation_reaches_the_network(rings, cpu):
    seen = []
    fit(network(), *rings, steps=1, here=cpu, augment=lambda x, y: (seen.append(x.shape), (x * 0, y))[1])
    assert seen == [(64, 2)]


def test_predictions_are_made_in_evaluation_mode_whatever_the_batch(rings):
    net = network().train()
    assert torch.allclose(predict(net, rings[0], 7), predict(net, rings[0], 400), atol=1e-6)
    assert net.training


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "either steps or seconds"), ({"steps": 1, "seconds": 1.0}, "either steps or seconds")],
)
def test_bad_plans_are_one_line(rings, options, message):
    with pytest.raises(InputError, match=message):
        fit(network(), *rings, **options)


def test_lengths_that_differ_and_losses_that_explode_are_named(rings, cpu):
    with pytest.raises(InputError, match="400 inputs and 3 targets"):
        fit(network(), rings[0], rings[1][:3], steps=1)
    with pytest.raises(InputError, match="smaller rate"):
        fit(network(), *rings, lambda x, y: F.cross_entropy(x, y) * float("inf"), steps=1, here=cpu)


def test_the_rate_climbs_and_falls():
    rates = [warm_up_and_cosine(i / 100) for i in range(101)]
    assert max(rates) == pytest.approx(1, abs=0.02) and rates[0] < 0.15 and rates[-1] == pytest.approx(0, abs=1e-6)
    assert rates[:10] == sorted(rates[:10]) and rates[12:] == sorted(rates[12:], reverse=True)
