"""A generator against a discriminator: one step for every loss, penalty and condition. Goodfellow et al. 2014."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from mrctlib.losses import NON_SATURATING, GanLoss
from mrctlib.runtime import InputError, Tier, lowered, resident, rows, tier, to_device
from mrctlib.training.checkpoints import keep
from mrctlib.training.descent import Average, descend
from mrctlib.training.loop import Step, Training

Penalty = Callable[[nn.Module, Tensor, Tensor], Tensor]
Noise = Callable[[int], Tensor]


def gan_step(
    players: dict[str, nn.Module], optimisers: dict[str, torch.optim.Optimizer], real: Tensor,
    conditions: Tensor | None, *, noise: Noise, loss: GanLoss, batch: int, penalty: Penalty | None = None,
    reconstruction: Callable[[Tensor, Tensor], Tensor] | None = None, clip: float | None = None, critic_steps: int = 1,
) -> Step:  # fmt: skip
    """A step for the loop: the discriminator's turns, then the generator's; the arguments are those of `play`."""
    device = next(players["generator"].parameters()).device
    generator, discriminator = lowered(players["generator"]), lowered(players["discriminator"])
    given = [resident(examples, device) for examples in (real, conditions) if examples is not None]

    def batch_of(generator: torch.Generator) -> tuple[Tensor, ...]:
        chosen = torch.randint(len(real), (batch,), generator=generator)
        return tuple(rows(examples, chosen, device) for examples in given)

    def discriminator_turn(x: Tensor, *condition: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = generator(to_device(noise(batch), device), *condition)
        real_scores, fake_scores = discriminator(x, *condition), discriminator(fake, *condition)
        value = loss.discriminator(real_scores, fake_scores)
        if penalty:
            # In full precision: it is learned from the slope, so its gradients are slopes of slopes.
            value = value + penalty(lambda seen: players["discriminator"](seen, *condition), x, fake)
        descend(optimisers["discriminator"], value)
        if clip:
            clip_weights(players["discriminator"], clip)
        return {"discriminator": value, "real": real_scores.mean(), "fake": fake_scores.mean()}

    def generator_turn(x: Tensor, *condition: Tensor) -> Tensor:
        players["discriminator"].requires_grad_(False)
        fake = generator(to_device(noise(batch), device), *condition)
        value = loss.generator(discriminator(fake, *condition))
        if reconstruction:
            value = value + reconstruction(fake, x)
        descend(optimisers["generator"], value)
        players["discriminator"].requires_grad_(True)
        return value

    def step(draw: Callable[..., torch.Generator], done: float) -> dict[str, Tensor]:
        for turn in range(critic_steps):
            seen = discriminator_turn(*batch_of(draw(turn)))
        return seen | {"generator": generator_turn(*batch_of(draw("generator")))}

    return step


@torch.no_grad()
def clip_weights(network: nn.Module, most: float) -> None:
    """Cut every weight to -most to most: the first way to keep a critic from being too steep. Arjovsky et al. 2017."""
    for parameter in network.parameters():
        parameter.clamp_(-most, most)


def play(
    generator: nn.Module, discriminator: nn.Module, real: Tensor, conditions: Tensor | None = None, *,
    noise: int | Noise, loss: GanLoss = NON_SATURATING, steps: int, batch: int = 64,
    rate: float | tuple[float, float] = 2e-4, betas: tuple[float, float] = (0.5, 0.999), average: float = 0.0,
    watch: Callable[[nn.Module], dict[str, float]] | None = None, watch_every: int = 100, seed: int = 0,
    name: str | None = None, here: Tier | None = None, folder: str | Path | None = None, **asked: object,
) -> list[dict[str, float]]:  # fmt: skip
    """Train both players in place with Adam, and return the history of the game.

    Every row has `step`, `seconds` (of training alone), `discriminator` and `generator` (mean losses since the last
    row), `real` and `fake` (the mean scores), and what `watch` says of the generator in evaluation mode. Seed the
    weights yourself, before you build the networks. At the end both are in evaluation mode.

    Args:
        generator: (N, noise), and with conditions (N, ...), to fakes of the form of `real`.
        discriminator: `real` or fakes, and with conditions those, to scores before any sigmoid, high for real.
        real: (M, ...), the examples; conditions: (M, ...), one for each, given to both players.
        noise: length of the noise, drawn from the normal distribution, or a function from N to noise (N, ...).
        loss: what each player is asked for.
        steps: those of the generator; batch: examples in each.
        rate: of both, or (generator's, discriminator's).
        average: decay of an average of the generator's weights; at the end the generator has these. 0: the last ones.
        name, here, folder: as in `supervised.fit`.
        asked: what else is asked of the players, see `gan_step`. penalty: added to the discriminator's loss, called
            with (discriminator, real, fake) where the discriminator already knows the conditions; reconstruction: added
            to the generator's loss, from (fakes, the examples whose conditions they were made for); clip: weights of
            the discriminator are cut to -clip to clip after each of its steps (Arjovsky et al. 2017); critic_steps:
            turns of the discriminator for one of the generator.

    Raises:
        InputError: no examples, conditions of another number, a loss that is not finite, or a checkpoint of another
            game.
    """
    if not len(real) or (conditions is not None and len(conditions) != len(real)):
        given = "no" if conditions is None else len(conditions)
        raise InputError(
            f"{len(real)} examples and {given} conditions: play needs examples, and one condition for each"
        )
    rates = rate if isinstance(rate, tuple) else (rate, rate)
    recipe = {"steps": steps, "batch": batch, "rates": rates, "betas": betas, "average": average, "loss": loss.name}
    recipe |= {"seed": seed} | asked
    kept = {"name": name, "folder": folder, "watched": watch is not None}
    belongs_to, path = keep(recipe, [generator, discriminator], [real, conditions], **kept)

    device = (here or tier()).device
    players = {"generator": generator.to(device).train(), "discriminator": discriminator.to(device).train()}
    optimisers = {
        key: torch.optim.Adam(player.parameters(), r, betas, fused=device.type == "cuda")
        for (key, player), r in zip(players.items(), rates, strict=True)
    }
    follows = {"generator": Average(generator, lambda step: average)} if average else {}
    draw = noise if callable(noise) else lambda count: torch.randn(count, noise)
    shown = follows["generator"].module if average else generator
    training = Training(
        gan_step(players, optimisers, real, conditions, noise=draw, loss=loss, batch=batch, **asked),
        players | ({"averaged": shown} if average else {}), optimisers, steps=steps,
        averages=follows, watch=(lambda: watch(shown)) if watch else None, watch_every=watch_every, seed=seed,
        stream="game", name=name or "game", checkpoint=path, belongs_to=belongs_to,
    ).run()  # fmt: skip
    generator.load_state_dict(shown.state_dict())
    for player in players.values():
        player.eval()
    return training.history


@torch.no_grad()
def make(generator: nn.Module, noise: Tensor, conditions: Tensor | None = None, batch: int = 256) -> Tensor:
    """What the generator makes of noise (N, ...), and conditions (N, ...), in evaluation mode, on the CPU."""
    device = next(generator.parameters()).device
    training = generator.training
    generator.eval()
    given = zip(*(part.split(batch) for part in (noise, conditions) if part is not None), strict=True)
    made = torch.cat([generator(*(part.to(device) for part in parts)).float().cpu() for parts in given])
    generator.train(training)
    return made
