"""The games of the translation loop that are not the CycleGAN: plain GANs, told more or less."""

from dataclasses import replace

import pytest
import torch

from mrctlib.models.translation import SliceDiscriminator
from mrctlib.runtime import InputError
from mrctlib.training.games import GAMES, ONE_WAY, Recipe, cohort_slices, recipe_for
from mrctlib.training.translation import TranslationTraining

TINY = Recipe(
    generator="unet", base=4, depth=2, discriminator_base=4, discriminator_layers=1, spacing=6.4, size=32, batch=4,
    steps=3, rate=2e-3, discriminator_rate=1e-3, average=0.5, watch_every=1,
)  # fmt: skip


@pytest.mark.parametrize("model", [name for name, kind in ONE_WAY.items() if kind.loss])
def test_every_adversary_trains_both_players(model, cases, cpu):
    recipe = replace(TINY, model=model)
    used, mr, ct = cohort_slices(cases, recipe)
    assert (set(used["mr"]) == set(used["ct"])) == ONE_WAY[model].paired, "unpaired: no patient gives both"
    training = TranslationTraining(recipe, mr, ct, cpu)
    before = [p.clone() for p in (*training.game.generators.parameters(), *training.game.discriminators.parameters())]
    training.run()
    after = [*training.game.generators.parameters(), *training.game.discriminators.parameters()]
    # A bias before a normalisation has no gradient, so not every single tensor moves.
    assert sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) > 0.6 * len(after)
    assert {"gan", "discriminator"} <= set(training.history[-1])
    assert ("l1" in training.history[-1]) == (model == "pix2pix")


def test_pairs_stay_pairs_and_strangers_strangers(cases, cpu):
    for model in ("gan-paired", "gan"):
        recipe = replace(TINY, model=model)
        _, mr, ct = cohort_slices(cases, recipe)
        batch = GAMES[model](recipe, mr, ct).batch(torch.Generator().manual_seed(0))
        alike = ((batch["mr"] > -0.99) == (batch["ct"] > -0.99)).float().mean()  # air around the head
        assert (alike > 0.97) == (model == "gan-paired")


def test_paired_games_refuse_strangers(cases):
    _, mr, ct = cohort_slices(cases, TINY)
    for model in ("paired", "pix2pix"):
        with pytest.raises(InputError, match="paired model"):
            GAMES[model](replace(TINY, model=model), mr, ct)


def test_discriminator_that_sees_the_mr_knows_a_wrong_pair(cases, cpu):
    recipe = replace(TINY, model="gan-sees-mr", steps=1)
    _, mr, ct = cohort_slices(cases, recipe)
    game = GAMES["gan-sees-mr"](recipe, mr, ct)
    game.discriminators.eval()
    batch = game.batch(torch.Generator().manual_seed(0))
    other = batch | {"mr": batch["mr"].flip(0)}
    told, mistold = (game.discriminators["ct"](game.shown(b["ct"], b)) for b in (batch, other))
    assert not torch.allclose(told, mistold)


def test_clipped_critic_stays_clipped_and_takes_four_steps(cases, cpu, monkeypatch):
    recipe = replace(TINY, model="wgan", steps=2)
    training = TranslationTraining(recipe, *cohort_slices(cases, recipe)[1:], cpu)
    game, turns = training.game, []
    tame = game.tame
    monkeypatch.setattr(game, "tame", lambda: (turns.append(1), tame()))
    training.run()
    assert len(turns) == 2 * 4
    assert max(float(p.detach().abs().max()) for p in game.discriminators.parameters()) < 0.001001


def test_a_generator_with_pairs_and_l1_comes_closer(cases, cpu):
    recipe = replace(TINY, model="pix2pix", steps=60, average=0.0)
    _, mr, ct = cohort_slices(cases, recipe)
    history = TranslationTraining(recipe, mr, ct, cpu).run().history
    assert history[-1]["l1"] < 0.6 * history[0]["l1"]


def test_slice_discriminator():
    scores = SliceDiscriminator(32, 4, channels=2)(torch.randn(5, 2, 32, 32))
    assert scores.shape == (5,)
    kinds = {type(module).__name__ for module in SliceDiscriminator(32, 4, norm=False).modules()}
    assert "BatchNorm2d" not in kinds
    # 64 to 512 channels, as in the thesis: 3 x 3 kernels and their biases, the norms, one score from 16 x 16 points.
    convolutions = sum(9 * a * b + b for a, b in ((1, 64), (64, 128), (128, 256), (256, 512)))
    norms, last = 2 * (128 + 256 + 512), 512 * 16 * 16 + 1
    assert sum(p.numel() for p in SliceDiscriminator(256).parameters()) == convolutions + norms + last


def test_recipes_of_all_games_at_both_tiers(cpu):
    for model in GAMES:
        recipe = recipe_for(model, cpu, steps=7)
        assert (recipe.model, recipe.steps) == (model, 7)
