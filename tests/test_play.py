"""The loop of generator against discriminator."""

import pytest
import torch
from torch import nn

from mrctlib import losses
from mrctlib.runtime import InputError, seed_everything
from mrctlib.training.gan import make, play


def players(conditions=0, seed=0, size=1):
    seed_everything(seed)
    generator = nn.Sequential(nn.Linear(2 + conditions, 16), nn.ReLU(), nn.Linear(16, size))
    discriminator = nn.Sequential(nn.Linear(size + conditions, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1), nn.Flatten(0))
    return generator, discriminator


def normal(mean, std, count=2000):
    return mean + std * torch.randn(count, 1, generator=torch.Generator().manual_seed(0))


def test_generator_learns_where_the_data_are():
    generator, discriminator = players()
    history = play(generator, discriminator, normal(3, 0.5), noise=2, steps=800, rate=2e-3, average=0.99)
    made = make(generator, torch.randn(1000, 2, generator=torch.Generator().manual_seed(1)))
    assert abs(float(made.mean()) - 3) < 0.3 and 0.1 < float(made.std()) < 1
    assert history[-1]["step"] == 800 and not generator.training and not discriminator.training


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (losses.SATURATING, {}),
        (losses.LEAST_SQUARES, {}),
        (losses.HINGE, {}),
        (losses.WASSERSTEIN, {"penalty": losses.gradient_penalty, "critic_steps": 3}),
        (losses.WASSERSTEIN, {"clip": 0.2, "critic_steps": 3, "rate": (1e-2, 3e-3)}),
    ],
    ids=lambda value: value.name if isinstance(value, losses.GanLoss) else "-".join(value),
)
def test_every_loss_moves_the_generator_towards_the_data(loss, options):
    # In the plane: on a line a critic that starts with the wrong slope cannot turn, since the penalty has a wall at 0.
    generator, discriminator = players(size=2)
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(1))

    def distance():
        return float((make(generator, noise).mean(0) - 2).norm())

    before = distance()
    play(
        generator, discriminator, normal(2, 0.5).view(-1, 2), noise=2, steps=300, loss=loss, **{"rate": 3e-3} | options
    )
    assert distance() < 0.5 * before
    if "clip" in options:
        assert max(float(p.detach().abs().max()) for p in discriminator.parameters()) <= options["clip"] + 1e-6


class Conditional(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, condition):
        return self.network(torch.cat([x, condition], 1))


def test_conditions_reach_both_players():
    generator, discriminator = (Conditional(network) for network in players(conditions=1))
    condition = torch.tensor([-1.0, 1.0]).repeat(500)[:, None]
    real = 2 * condition + 0.2 * normal(0, 1, 1000)
    play(generator, discriminator, real, condition, noise=2, steps=600, rate=3e-3)
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    low, high = (float(make(generator, noise, torch.full((200, 1), value)).mean()) for value in (-1.0, 1.0))
    assert low < -1 and high > 1


def test_reconstruction_ties_a_fake_to_its_own_example():
    conditions = torch.randn(500, 1, generator=torch.Generator().manual_seed(0))

    def off_by(reconstruction):
        generator, discriminator = (Conditional(player) for player in players(conditions=1))
        play(generator, discriminator, 2 * conditions, conditions, noise=2, steps=150, rate=3e-3,
             reconstruction=reconstruction)  # fmt: skip
        return float((make(generator, torch.zeros(500, 2), conditions) - 2 * conditions).abs().mean())

    assert off_by(lambda fake, real: 10 * (fake - real).abs().mean()) < min(0.3, 0.5 * off_by(None))


def test_averaged_generator_is_what_the_game_leaves():
    seen = []
    generator, discriminator = players()
    play(
        generator, discriminator, normal(3, 1), noise=2, steps=5, average=0.5, watch_every=1,
        watch=lambda shown: seen.append([p.clone() for p in shown.parameters()]) or {},
    )  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(seen[-1], generator.parameters(), strict=True))


def test_own_noise_may_be_given():
    generator, discriminator = players()
    asked = []
    play(generator, discriminator, normal(3, 1), noise=lambda n: asked.append(n) or torch.rand(n, 2), steps=3, batch=7)
    assert set(asked) == {7} and len(asked) == 6


def test_bad_input():
    with pytest.raises(InputError, match="5 examples and 4 conditions"):
        play(*players(), torch.randn(5, 1), torch.randn(4, 1), noise=2, steps=1)
    with pytest.raises(InputError, match="0 examples"):
        play(*players(), torch.empty(0, 1), noise=2, steps=1)
    with pytest.raises(InputError, match="smaller rate"):
        play(*players(), torch.full((8, 1), float("nan")), noise=2, steps=1)


def test_checkpoint_of_another_game_is_refused(tmp_path):
    play(*players(), normal(3, 1), noise=2, steps=2, folder=tmp_path)
    with pytest.raises(InputError, match="another training .*recipe"):
        play(*players(), normal(3, 1), noise=2, steps=2, batch=3, folder=tmp_path)
