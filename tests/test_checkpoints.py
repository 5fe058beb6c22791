"""Checkpoints that a training keeps by itself: the same training is found again, another never is."""

import functools
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mrctlib.losses import LEAST_SQUARES
from mrctlib.runtime import Tier, seed_everything
from mrctlib.training import adversarial, supervised
from mrctlib.training.checkpoints import fingerprint

MAKER = "def g(a):\n    return lambda x: a * x\n"
CPU = Tier("cpu", torch.device("cpu"))


class Block(nn.Module):
    """A network whose setting neither its weights nor its words tell."""

    def __init__(self, shortcut: bool) -> None:
        super().__init__()
        self.shortcut = shortcut


def in_notebook(source: str, **names) -> types.FunctionType:
    """The function `f` that a notebook's cell would define."""
    space = {"__name__": "__main__", "torch": torch, "F": F} | names
    exec(source, space)
    return space["f"]


def network(seed: int = 0, width: int = 4) -> nn.Module:
    seed_everything(seed)
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 2))


def test_the_same_things_have_the_same_fingerprint():
    weigh = "def f(x, y, w=2):\n    def inner(z):\n        return LAMBDA * z\n    return inner(F.mse_loss(x, y)) * w"
    for make in (
        lambda: torch.arange(6.0).view(2, 3),
        lambda: np.arange(6),
        lambda: {"a": [1, 2.0, None, "b"], "c": {3, 4}},
        network,
        lambda: (seed_everything(0), nn.LSTM(2, 3)),
        lambda: in_notebook(weigh, LAMBDA=3.0),
        lambda: functools.partial(F.cross_entropy, label_smoothing=0.1),
        lambda: (lambda scale: lambda x: x * scale)(2),
        lambda: [torch.zeros(2) for _ in range(50)],
    ):
        assert fingerprint(make()) == fingerprint(make())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (network(0), network(1)),
        (nn.Dropout(0.1), nn.Dropout(0.2)),
        (Block(shortcut=True), Block(shortcut=False)),
        (1, 1.0),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: x.sin(), lambda x: x.cos()),
        (functools.partial(F.cross_entropy, label_smoothing=0.1), functools.partial(F.cross_entropy)),
        (in_notebook("def f(x): return LAMBDA * x", LAMBDA=1), in_notebook("def f(x): return LAMBDA * x", LAMBDA=2)),
        (in_notebook("def f(x, w=1): return w * x"), in_notebook("def f(x, w=2): return w * x")),
        (in_notebook(MAKER + "f = g(1)"), in_notebook(MAKER + "f = g(2)")),
        ([torch.zeros(2), torch.ones(2)], [torch.ones(2), torch.zeros(2)]),
    ],
)
def test_other_things_have_another(one, other):
    assert fingerprint(one) != fingerprint(other)


def train(rate=1e-2, loss=F.cross_entropy, **options):
    trained = network()
    x = torch.arange(60.0).view(20, 3) / 60
    history = supervised.fit(trained, x, (x[:, 0] > 0.5).long(), loss, steps=6, rate=rate, here=CPU, **options)
    return history, trained.state_dict(), torch.rand(1)


def play():
    seed_everything(1)
    players = nn.Linear(2, 3), nn.Linear(3, 1)
    history = adversarial.play(
        *players, torch.ones(8, 3), noise=2, loss=LEAST_SQUARES, steps=4, average=0.5, here=CPU, seed=3
    )
    return history, players[0].state_dict(), torch.rand(1)


@pytest.mark.parametrize(("training", "module"), [(train, supervised), (play, adversarial)])
def test_a_training_starts_from_what_it_kept(training, module, tmp_path, monkeypatch):
    before = training()
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("MRCT_CHECKPOINTS", str(tmp_path))
    training()
    assert len(list(tmp_path.glob("*/checkpoint.safetensors"))) == 1
    monkeypatch.setattr(module, "descend", None)  # a step would fail
    history, weights, drawn = training()
    assert [row["step"] for row in history] == [row["step"] for row in before[0]]
    assert all(torch.equal(weights[name], before[1][name]) for name in weights)
    assert torch.equal(drawn, before[2]), "and what comes after draws the same numbers"


def test_another_training_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCT_CHECKPOINTS", str(tmp_path))
    train()
    train(rate=2e-2)
    train(loss=lambda said, truth: 2 * F.cross_entropy(said, truth))
    assert len(list(tmp_path.iterdir())) == 3
    seen = []
    train(rate=3e-2, watch=lambda _: seen.append(1) or {})
    assert len(list(tmp_path.iterdir())) == 3 and seen, "what is watched runs, and keeps nothing"
