"""The comparison's games that are not the CycleGAN: one generator against a discriminator, told more or less."""

from dataclasses import replace

import pytest
import torch

from mrctlib.course import one_way
from mrctlib.course.comparison import untuned
from mrctlib.course.one_way import OneWay, OneWayRecipe
from mrctlib.data.cohorts import unpaired_halves
from mrctlib.runtime import InputError, Tier
from mrctlib.training.recipe import cohort_slices
from mrctlib.training.translation import TranslationTraining

TINY = OneWayRecipe(
    generator="unet", base=4, depth=2, discriminator_base=4, discriminator_layers=1, spacing=6.4, size=32, batch=4,
    steps=3, rate=2e-3, discriminator_rate=1e-3, average=0.5, watch_every=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def kinds():
    """The tiny recipe of every one-way method of the comparison."""
    told = ("l1", "wasserstein", "critic_steps", "clip", "slope")
    return {
        name: replace(TINY, **{key: getattr(recipe, key) for key in told})
        for name, recipe in untuned(Tier("cpu", torch.device("cpu")), "unet").items()
        if isinstance(recipe, OneWayRecipe)
    }


def train(recipe, cases, cpu):
    return TranslationTraining(recipe, *cohort_slices(cases, recipe), cpu, game=OneWay)


def test_every_adversary_trains_both_players(kinds, cases, cpu):
    assert len(kinds) == 4
    for name, recipe in kinds.items():
        training = train(recipe, cases, cpu)
        networks = training.game.generators, training.game.discriminators
        before = [p.clone() for network in networks for p in network.parameters()]
        training.run()
        after = [p for network in networks for p in network.parameters()]
        # A bias before a normalisation has no gradient, so not every single tensor moves.
        assert sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) > 0.6 * len(after), name
        assert {"gan", "discriminator"} <= set(training.history[-1])
        assert ("l1" in training.history[-1]) == (name == "pix2pix")


def test_pairs_stay_pairs_and_strangers_strangers(kinds, cases):
    names = [{case.name for case in half} for half in unpaired_halves(cases, 0)]
    assert not names[0] & names[1], "unpaired: no patient gives both"
    for name in ("pix2pix", "GAN"):
        game = OneWay(kinds[name], *cohort_slices(cases, kinds[name]))
        game.device = torch.device("cpu")
        batch = game.batch(torch.Generator().manual_seed(0))
        alike = ((batch["mr"] > -0.99) == (batch["ct"] > -0.99)).float().mean()  # air around the head
        assert (alike > 0.97) == (name == "pix2pix")


def test_paired_games_refuse_strangers(kinds, cases):
    with pytest.raises(InputError, match="paired model"):
        OneWay(kinds["pix2pix"], *cohort_slices(cases, TINY))


def test_discriminator_that_sees_the_mr_knows_a_wrong_pair(kinds, cases, cpu):
    game = train(kinds["pix2pix"], cases, cpu).game
    game.discriminators.eval()
    batch = game.batch(torch.Generator().manual_seed(0))
    other = batch | {"mr": batch["mr"].flip(0)}
    told, mistold = (game.discriminators["ct"](game.shown(b["ct"], b)) for b in (batch, other))
    assert not torch.allclose(told, mistold)


def test_clipped_critic_stays_clipped_and_takes_four_steps(kinds, cases, cpu, monkeypatch):
    turns, clip = [], one_way.clip_weights
    monkeypatch.setattr(one_way, "clip_weights", lambda *a: (turns.append(1), clip(*a)))
    training = train(replace(kinds["WGAN, clipped"], steps=2), cases, cpu).run()
    assert len(turns) == 2 * 4
    assert max(float(p.detach().abs().max()) for p in training.game.discriminators.parameters()) < 0.010001


def test_a_turn_of_the_critic_judges_once(kinds, cases, cpu):
    """Further turns make new fakes, but nobody judges these for the generator's sake."""
    training = train(replace(kinds["WGAN, clipped"], steps=1), cases, cpu)
    judged = []
    training.game.discriminators["ct"].register_forward_hook(lambda *_: judged.append(1))
    training.run()
    assert len(judged) == 1 + 4 * 2, "the generator's fake once, then four times real and fake"


def test_a_generator_with_pairs_and_l1_comes_closer(kinds, cases, cpu):
    history = train(replace(kinds["pix2pix"], steps=60, average=0.0), cases, cpu).run().history
    assert history[-1]["l1"] < 0.6 * history[0]["l1"]
