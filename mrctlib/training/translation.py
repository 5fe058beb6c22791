"""The training loop for translation, and what to watch while it runs.

One loop serves every translation model: a game (see `mrctlib.training.games`) knows its networks, and the loop knows
steps, learning rates, the averaged generator, what to watch, and how to stop and go on.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mrctlib import losses
from mrctlib.data.cohorts import SliceSet
from mrctlib.data.volumes import denormalise_ct, normalise_ct
from mrctlib.runtime import InputError, Tier, derive_seed, progress, seed_everything
from mrctlib.training.checkpoints import (
    CHECKPOINT,
    fingerprint,
    load_optimiser,
    optimiser_tensors,
    read_checkpoint,
    under,
    write_checkpoint,
)
from mrctlib.training.engine import accelerator_for, descend
from mrctlib.training.games import GAMES, Recipe

# ---------------------------------------------------------------------------------------------------- the loop


class TranslationTraining:
    """A training that can be watched, interrupted, and taken up again where it was.

    Every random choice of a step is drawn from (seed, step), so a training that was killed and resumed from its
    checkpoint goes on to the same weights, to the last bit on a CPU, as one that never stopped.

    folder: where the checkpoint lies or will lie; None keeps everything in memory.

    Raises:
        InputError: fewer slices than a batch, or a checkpoint in `folder` of another recipe or other patients.
    """

    def __init__(
        self, recipe: Recipe, mr: SliceSet, ct: SliceSet, tier: Tier, folder: str | Path | None = None
    ) -> None:
        if min(len(mr), len(ct)) < recipe.batch:
            raise InputError(
                f"{len(mr)} MR and {len(ct)} CT slices are fewer than a batch of {recipe.batch}: add cases"
            )
        self.recipe, self.folder = recipe, Path(folder) if folder is not None else None
        self.accelerator = accelerator_for(tier)
        seed_everything(recipe.seed, "weights")
        self.game = GAMES[recipe.model](recipe, mr, ct)
        self.rates = {"generators": recipe.rate, "discriminators": recipe.discriminator_rate}
        self.optimisers = {}
        for name in ("generators", "discriminators"):
            networks = getattr(self.game, name).to(self.device, memory_format=torch.channels_last)
            if parameters := list(networks.parameters()):
                self.optimisers[name] = torch.optim.Adam(parameters, self.rates[name], betas=(0.5, 0.999))
        self.averaged = copy.deepcopy(self.game.generators["to_ct"]).requires_grad_(False)
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.watched = Watch.choose(mr, ct, self.device)
        self.slices = fingerprint(mr.patients, ct.patients)  # how many each patient has: the same on every machine
        if self.folder and (self.folder / CHECKPOINT).exists():
            self._load(self.folder / CHECKPOINT)

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def run(self, on_watch: Callable[[TranslationTraining], None] | None = None) -> TranslationTraining:
        """Train to the end of the recipe, from wherever the checkpoint was.

        on_watch: called after each row that is added to `history`, for a live preview.
        """
        recipe = self.recipe
        sums: dict[str, float] = {}
        started = time.perf_counter()
        bar = progress(
            range(self.step, recipe.steps),
            "training",
            initial=self.step,
            total=recipe.steps,
            unit="step",
            disable=not self.accelerator.is_main_process,
        )
        try:
            for _ in bar:
                for name, value in self.one_step().items():
                    sums[name] = sums.get(name, 0.0) + value
                self.step += 1
                if self.step % recipe.watch_every == 0 or self.step == recipe.steps:
                    since = self.step % recipe.watch_every or recipe.watch_every
                    row = {"step": self.step} | {name: value / since for name, value in sums.items()}
                    row |= self.watched.look(self.averaged, self.game.learns_air)
                    self.history.append(row)
                    sums.clear()
                    now = time.perf_counter()
                    self.seconds, started = self.seconds + now - started, now
                    self.save()
                    if on_watch:
                        on_watch(self)
                    if self.step >= recipe.steps / 4:  # a beginner is wrong in every way
                        for alarm in drift_alarms(self.history):
                            bar.write(f"step {self.step}: {alarm}")
        except KeyboardInterrupt:
            kept = self.history[-1]["step"] if self.history and self.folder else 0
            message = f"stopped at step {self.step} of {recipe.steps}; run this again to go on from step {kept}"
            raise KeyboardInterrupt(message) from None
        return self

    def one_step(self) -> dict[str, float]:
        recipe, game = self.recipe, self.game
        done = self.step / recipe.steps
        batch = self._batch("batch")
        seed_everything(recipe.seed, self.step, self.accelerator.process_index, "step")
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = self.rates[name] * recipe.rate_at(done)

        game.discriminators.requires_grad_(False)
        with self.accelerator.autocast():
            terms, fakes = game.generator_losses(batch, done)
        descend(self.accelerator, self.optimisers["generators"], sum(terms.values()))
        self._average()
        result = {name: term.detach() for name, term in terms.items()}

        for turn in range(game.critic_steps if fakes else 0):
            if turn:  # a critic that takes several steps sees new slices in each
                batch = self._batch("batch", turn)
                with torch.no_grad(), self.accelerator.autocast():
                    _, fakes = game.generator_losses(batch, done)
            game.discriminators.requires_grad_(True)
            with self.accelerator.autocast():
                loss = game.discriminator_loss(batch, fakes)
            descend(self.accelerator, self.optimisers["discriminators"], loss)
            game.tame()
            result["discriminator"] = loss.detach()
        return {name: float(value) for name, value in result.items()}

    def _batch(self, *name: str | int) -> dict[str, Tensor]:
        """A batch of this step, on the device, drawn from the seed, the step and `name` alone."""
        key = derive_seed(self.recipe.seed, self.step, self.accelerator.process_index, *name)
        batch = self.game.batch(torch.Generator().manual_seed(key))
        return {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}

    @torch.no_grad()
    def _average(self) -> None:
        """Follow the generator with an exponential average, which forgets faster at first to leave the start behind."""
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        current = self.game.generators["to_ct"].parameters()
        for mean, value in zip(self.averaged.parameters(), current, strict=True):
            mean.lerp_(value, 1 - decay)

    # ---- checkpoints

    def modules_by_name(self) -> dict[str, nn.Module]:
        named = {"averaged": self.averaged}
        for kind in ("generators", "discriminators"):
            for name, network in getattr(self.game, kind).items():
                named[f"{kind}.{name}"] = network
        return named

    def save(self) -> None:
        """Write the checkpoint, whole or not at all; nothing without a folder."""
        if self.folder is None or not self.accelerator.is_main_process:
            return
        tensors = {
            f"{m}/{k}": v for m, network in self.modules_by_name().items() for k, v in network.state_dict().items()
        }
        for name, optimiser in self.optimisers.items():
            tensors |= {f"optimiser.{name}/{key}": v for key, v in optimiser_tensors(optimiser).items()}
        tensors |= {f"pool/{name}": torch.stack(pool.images) for name, pool in self.game.pools.items() if pool.images}
        about = {
            "recipe": self.recipe.to_json(),
            "slices": self.slices,
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
        }
        write_checkpoint(self.folder / CHECKPOINT, tensors, about)

    def _load(self, path: Path) -> None:
        tensors, about, saved = read_run(path)
        if saved != self.recipe:
            other = [f.name for f in fields(Recipe) if getattr(saved, f.name) != getattr(self.recipe, f.name)]
            raise InputError(f"{path}: was trained with another recipe ({', '.join(other)}); name another folder")
        if about.get("slices") != self.slices:
            raise InputError(f"{path}: was trained on other patients; name another folder")
        for name, network in self.modules_by_name().items():
            network.load_state_dict(under(tensors, name))
        for name, optimiser in self.optimisers.items():
            load_optimiser(optimiser, under(tensors, f"optimiser.{name}"))
        for name, pool in self.game.pools.items():
            pool.images = list(tensors.get(f"pool/{name}", torch.empty(0)).to(self.device))
        self.step, self.seconds, self.history = about["step"], about["seconds"], about["history"]


def read_run(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], Recipe]:
    """(tensors by name, what the training said about itself, its recipe) from the checkpoint of a translation training.

    Raises:
        InputError: the file is missing, or not the checkpoint of a translation training.
    """
    tensors, about = read_checkpoint(path)
    try:
        return tensors, about, Recipe.from_json(about["recipe"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not from a translation training; name another run, or train again") from error


# ---------------------------------------------------------------------------------------------------- watching


@dataclass(frozen=True)
class Watch:
    """A fixed handful of slices on which every epoch is looked at. No pairs are needed."""

    mr: Tensor
    mr_mask: Tensor
    ct: Tensor
    ct_mask: Tensor

    @classmethod
    def choose(cls, mr: SliceSet, ct: SliceSet, device: torch.device, count: int = 24) -> Watch:
        i, j = (torch.linspace(0, len(s) - 1, min(count, len(s))).long() for s in (mr, ct))
        return cls(*(t.to(device) for t in (mr.images[i], mr.masks[i], ct.images[j], ct.masks[j])))

    @torch.no_grad()
    def look(self, generator: nn.Module, learns_air: bool = True) -> dict[str, float]:
        """The three signs of drift: correlation of fake CT with its MR in the body, share of the body above 300 HU as a
        ratio to real CT, and mean HU outside the body, which is that of air if the generator need not learn it."""
        fake = generator(self.mr).float()
        if not learns_air:
            fake = torch.where(self.mr_mask, fake, -1.0)
        both = torch.stack([fake[self.mr_mask], self.mr[self.mr_mask]])
        bone = float(normalise_ct(np.float32(300), np.bool_(True)))
        share, real_share = (fake[self.mr_mask] > bone).float().mean(), (self.ct[self.ct_mask] > bone).float().mean()
        outside = fake[~self.mr_mask].mean().cpu().numpy()
        return {
            "mr_correlation": float(torch.corrcoef(both)[0, 1].nan_to_num()),
            "bone_ratio": float(share / real_share.clamp(min=1e-6)),
            "background_hu": float(denormalise_ct(outside, np.bool_(True))),
        }


def drift_alarms(history: Sequence[dict[str, float]]) -> list[str]:
    """What is wrong with the latest row of a training's history, in words; empty when nothing is.

    A CT is no brighter where the MR is, so a fake CT that correlates strongly with its MR copies it, and one whose
    correlation climbs again after it had fallen drifts back to it.
    """
    now = history[-1]
    best = min(row["mr_correlation"] for row in history)
    alarms = []
    if now["mr_correlation"] > 0.8:
        alarms.append(f"the fake CT copies the MR (correlation {now['mr_correlation']:.2f})")
    elif now["mr_correlation"] > max(0.3, best + 0.25):
        alarms.append(f"the fake CT drifts back to the MR (correlation {best:.2f} to {now['mr_correlation']:.2f})")
    if not 0.4 < now["bone_ratio"] < 2.5:
        alarms.append(f"the fake CT has {now['bone_ratio']:.1f} times the bone of real CT")
    if now["background_hu"] > -900:
        alarms.append(f"the background is not air ({now['background_hu']:.0f} HU)")
    return alarms


@torch.no_grad()
def hidden_information(to_ct: nn.Module, to_mr: nn.Module, mr: Tensor, noise: float = 0.05, seed: int = 0) -> dict:
    """Cycle error of (N, 1, H, W) MR slices with and without faint noise on the fake CT in between.

    A generator that hides the MR in invisible texture returns it almost perfectly, until noise drowns the texture
    (Chu et al. 2017): `gap` is how many times the error grows. noise: standard deviation, 0.05 being 62.5 HU.
    """
    fake = to_ct(mr)
    generator = torch.Generator().manual_seed(seed)
    noisy = fake + noise * torch.randn(fake.shape, generator=generator).to(fake.device)
    clean_error, noisy_error = (float(losses.cycle_consistency(mr, to_mr(x))) for x in (fake, noisy))
    return {"clean": clean_error, "noisy": noisy_error, "gap": noisy_error / max(clean_error, 1e-9)}
