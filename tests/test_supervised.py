"""The supervised loop: it learns, repeats, goes on after a kill, and says no in one line."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mrctlib.course.exercises.core import check
from mrctlib.runtime import InputError, seed_everything
from mrctlib.training.checkpoints import CHECKPOINT
from mrctlib.training.supervised import accuracy, fit, predict, warm_up_and_cosine


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
    assert history[-1]["loss"] < 0.3 * history[0]["loss"]
    assert history[-1]["accuracy"] == accuracy(net, *rings) > 0.95
    assert [row["step"] for row in history] == [50, 100, 150, 200, 250, 300]
    assert not net.training


def test_the_same_seed_gives_the_same_weights(rings, cpu):
    runs = [network() for _ in range(3)]
    for net, seed in zip(runs, (0, 0, 1), strict=True):
        fit(net, *rings, steps=20, here=cpu, seed=seed)
    a, b, c = (torch.cat([p.flatten() for p in net.parameters()]) for net in runs)
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_checkpoint_of_another_training_is_refused(rings, cpu, tmp_path):
    history = fit(network(), *rings, steps=40, watch_every=10, here=cpu, folder=tmp_path)
    again = network(seed=9)  # its own weights do not matter: the checkpoint's do
    assert fit(again, *rings, steps=40, watch_every=10, here=cpu, folder=tmp_path) == history, (
        "nothing is trained twice"
    )
    with pytest.raises(InputError, match="another training .*recipe"):
        fit(network(), *rings, steps=40, rate=1e-4, here=cpu, folder=tmp_path)
    with pytest.raises(InputError, match="another training .*data"):
        fit(network(), rings[0] + 1, rings[1], steps=40, here=cpu, folder=tmp_path)
    with pytest.raises(InputError, match="another training .*networks"):
        fit(nn.Linear(2, 2), *rings, steps=40, here=cpu, folder=tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")
    with pytest.raises(InputError, match="is not a checkpoint"):
        fit(network(), *rings, steps=40, here=cpu, folder=tmp_path)


def test_augmentation_reaches_the_network(rings, cpu):
    seen = []
    fit(network(), *rings, steps=1, here=cpu, augment=lambda x, y: (seen.append(x.shape), (x * 0, y))[1])
    assert seen == [(64, 2)]


def test_predictions_are_made_in_evaluation_mode_whatever_the_batch(rings):
    net = network().train()
    assert torch.allclose(predict(net, rings[0], 7), predict(net, rings[0], 400), atol=1e-6)
    assert net.training


def test_lengths_that_differ_and_losses_that_explode_are_named(rings, cpu):
    with pytest.raises(InputError, match="400 inputs and 3 targets"):
        fit(network(), rings[0], rings[1][:3], steps=1)
    with pytest.raises(InputError, match="smaller rate"):
        fit(network(), *rings, lambda x, y: F.cross_entropy(x, y) * float("inf"), steps=1, here=cpu)


def test_the_rate_climbs_and_falls():
    rates = [warm_up_and_cosine(i / 100) for i in range(101)]
    assert max(rates) == pytest.approx(1, abs=0.02) and rates[0] < 0.15 and rates[-1] == pytest.approx(0, abs=1e-6)
    assert rates[:10] == sorted(rates[:10]) and rates[12:] == sorted(rates[12:], reverse=True)


def test_a_loop_that_is_written_otherwise_is_ticked():
    def loop(network, optimiser, batches):
        losses = [0.0] * len(batches)
        for number, (images, classes) in enumerate(batches):
            for parameter in network.parameters():
                parameter.grad = None
            value = -network(images).log_softmax(1)[torch.arange(len(classes)), classes].mean()
            losses[number] = value.detach().item()
            value.backward()
            optimiser.step()
        return losses

    assert check("architectures.training_loop", loop).status == "right"
