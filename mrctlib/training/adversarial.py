"""The game of a generator against a discriminator: one loop for every loss, penalty and condition."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from mrctlib.losses import NON_SATURATING, GanLoss
from mrctlib.runtime import InputError, Tier, derive_seed, progress, seed_everything, tier
from mrctlib.training.checkpoints import (
    checkpoint_path,
    draws,
    load_optimiser,
    optimiser_tensors,
    read_checkpoint,
    under,
    write_checkpoint,
)
from mrctlib.training.engine import accelerator_for, descend

Penalty = Callable[[nn.Module, Tensor, Tensor], Tensor]
Noise = Callable[[int], Tensor]


def play(
    generator: nn.Module,
    discriminator: nn.Module,
    real: Tensor,
    conditions: Tensor | None = None,
    *,
    noise: int | Noise,
    loss: GanLoss = NON_SATURATING,
    penalty: Penalty | None = None,
    reconstruction: Callable[[Tensor, Tensor], Tensor] | None = None,
    clip: float | None = None,
    critic_steps: int = 1,
    steps: int,
    batch: int = 64,
    rate: float | tuple[float, float] = 2e-4,
    betas: tuple[float, float] = (0.5, 0.999),
    average: float = 0.0,
    watch: Callable[[nn.Module], dict[str, float]] | None = None,
    watch_every: int = 100,
    seed: int = 0,
    label: str = "game",
    here: Tier | None = None,
    folder: str | Path | None = None,
) -> list[dict[str, float]]:
    """Train both players in place with Adam, and return the history of the game. Goodfellow et al. 2014.

    Every row has `step`, `seconds` (of training alone), `discriminator` and `generator` (mean losses since the last
    row), `real` and `fake` (the mean scores), and what `watch` says of the generator in evaluation mode. Batches
    and noise are drawn from (seed, step), so a game that was killed goes on from its checkpoint to the same weights.
    Seed the weights yourself, before you build the networks. At the end both are in evaluation mode.

    Args:
        generator: (N, noise), and with conditions (N, ...), to fakes of the form of `real`.
        discriminator: `real` or fakes, and with conditions those, to scores before any sigmoid, high for real.
        real: (M, ...), the examples; conditions: (M, ...), one for each, given to both players.
        noise: length of the noise, drawn from the normal distribution, or a function from N to noise (N, ...).
        loss: what each player is asked for; penalty: added to the discriminator's loss, called with (discriminator,
            real, fake) where the discriminator already knows the conditions.
        reconstruction: added to the generator's loss, from (fakes, the examples whose conditions they were made for).
        clip: weights of the discriminator are cut to -clip to clip after each of its steps (Arjovsky et al. 2017).
        critic_steps: steps of the discriminator for one of the generator; steps: those of the generator.
        rate: of both, or (generator's, discriminator's).
        average: decay of an average of the generator's weights; at the end the generator has these. 0: the last ones.
        here: the tier; by default that of this machine.
        folder: where a checkpoint is kept, one for each row of the history; None: see `checkpoint_path`.

    Raises:
        InputError: no examples, conditions of another number, a loss that is not finite, or a checkpoint of another
            game.
    """
    if not len(real) or (conditions is not None and len(conditions) != len(real)):
        given = "no" if conditions is None else len(conditions)
        raise InputError(
            f"{len(real)} examples and {given} conditions: play needs examples, and one condition for each"
        )
    accelerator = accelerator_for(here or tier())
    device = accelerator.device
    draw = noise if callable(noise) else lambda count: torch.randn(count, noise)
    rates = rate if isinstance(rate, tuple) else (rate, rate)
    players = {"generator": generator.to(device).train(), "discriminator": discriminator.to(device).train()}
    optimisers = {
        name: torch.optim.Adam(player.parameters(), r, betas)
        for (name, player), r in zip(players.items(), rates, strict=True)
    }
    averaged = copy.deepcopy(generator).requires_grad_(False)
    shown = averaged if average else generator  # whom we look at
    plan = {"steps": steps, "batch": batch, "rate": list(rates), "loss": loss.name, "clip": clip, "seed": seed}
    rest = betas, average, watch_every, critic_steps, noise, penalty, reconstruction
    path = checkpoint_path(folder, watch, plan, rest, generator, discriminator, real, conditions)
    parts = players | {"averaged": averaged}
    history = _resume(path, plan, parts, optimisers) if path and path.exists() else []
    step, spent = (int(history[-1]["step"]), history[-1]["seconds"]) if history else (0, 0.0)
    sums = torch.zeros(4, device=device)  # the two losses, the two mean scores
    since = step

    def batch_of(*key: object) -> tuple[Tensor, list[Tensor]]:
        picked = torch.Generator().manual_seed(derive_seed(seed, step, accelerator.process_index, *key))
        chosen = torch.randint(len(real), (batch,), generator=picked)
        return real[chosen].to(device), [] if conditions is None else [conditions[chosen].to(device)]

    for _ in progress(range(step, steps), label, initial=step, total=steps, leave=False):
        started = time.perf_counter()
        seed_everything(seed, step, accelerator.process_index, "game")
        for turn in range(critic_steps):
            x, condition = batch_of(turn)
            with accelerator.autocast():
                with torch.no_grad():
                    fake = generator(draw(batch).to(device), *condition)
                real_scores, fake_scores = discriminator(x, *condition), discriminator(fake, *condition)
                value = loss.discriminator(real_scores, fake_scores)
            if penalty:
                value = value + penalty(lambda seen, c=condition: discriminator(seen, *c), x, fake)
            descend(accelerator, optimisers["discriminator"], value)
            if clip:
                for parameter in discriminator.parameters():
                    parameter.data.clamp_(-clip, clip)
        x, condition = batch_of("generator")
        discriminator.requires_grad_(False)
        with accelerator.autocast():
            fake = generator(draw(batch).to(device), *condition)
            own = loss.generator(discriminator(fake, *condition))
            if reconstruction:
                own = own + reconstruction(fake, x)
        descend(accelerator, optimisers["generator"], own)
        discriminator.requires_grad_(True)
        if average:
            _follow(averaged, generator, average)
        sums += torch.stack([value, own, real_scores.mean(), fake_scores.mean()]).detach().float()
        step += 1
        spent += time.perf_counter() - started
        if step % watch_every == 0 or step == steps:
            names = ("discriminator", "generator", "real", "fake")
            row = dict(zip(names, (sums / (step - since)).tolist(), strict=True))
            if not all(map(math.isfinite, row.values())):
                raise InputError(f"the game is at {row} at step {step}: take a smaller rate, or a penalty")
            row = {"step": step, "seconds": spent} | row
            history.append(row | (_look(shown, watch) if watch else {}))
            sums.zero_()
            since = step
            if path and accelerator.is_main_process:
                _save(path, plan, parts, optimisers, history)
    if average:
        generator.load_state_dict(averaged.state_dict())
    for player in players.values():
        player.eval()
    return history


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


@torch.no_grad()
def _follow(averaged: nn.Module, generator: nn.Module, decay: float) -> None:
    """Move the averaged weights a little towards the present ones; running statistics are taken as they are."""
    for mean, value in zip(averaged.parameters(), generator.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)
    for mean, value in zip(averaged.buffers(), generator.buffers(), strict=True):
        mean.copy_(value)


@torch.no_grad()
def _look(generator: nn.Module, watch: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
    training = generator.training
    generator.eval()
    seen = watch(generator)
    generator.train(training)
    return seen


def _save(path: Path, plan: dict, parts: dict[str, nn.Module], optimisers: dict, history: list) -> None:
    tensors = {f"{name}/{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    for name, optimiser in optimisers.items():
        tensors |= {f"optimiser.{name}/{key}": value for key, value in optimiser_tensors(optimiser).items()}
    write_checkpoint(path, tensors | draws(), {"plan": plan, "history": history})


def _resume(path: Path, plan: dict, parts: dict[str, nn.Module], optimisers: dict) -> list[dict[str, float]]:
    """Put players and optimisers back to where the checkpoint left them; returns the history until then."""
    tensors, about = read_checkpoint(path)
    if about.get("plan") != plan:
        raise InputError(f"{path}: is from another game ({about.get('plan')}); name another folder")
    try:
        for name, part in parts.items():
            part.load_state_dict(under(tensors, name))
    except RuntimeError as error:
        raise InputError(f"{path}: its weights are those of other networks; name another folder") from error
    for name, optimiser in optimisers.items():
        load_optimiser(optimiser, under(tensors, f"optimiser.{name}"))
    torch.set_rng_state(tensors["draws"])
    return about["history"]
