"""From a recipe and slices to a training of MR to CT, and what to watch while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from mrctlib import losses, metrics
from mrctlib.data.plausible import typical
from mrctlib.data.slices import SliceSet, mirrored
from mrctlib.data.volumes import denormalise_ct, normalise_ct
from mrctlib.runtime import InputError, Tier, digest, lowered, seed_everything
from mrctlib.training.checkpoints import CHECKPOINT, read_checkpoint
from mrctlib.training.cyclegan import CycleGan
from mrctlib.training.descent import Average, descend
from mrctlib.training.loop import Training
from mrctlib.training.recipe import Recipe, build_generator


class Paired:
    """One generator from MR to CT that is shown the answers: the yardstick for those who have to do without.

    What it paints outside the body is nobody's concern. Learning the air as well costs a small network much.
    """

    learns_air = False

    def __init__(self, recipe: Recipe, mr: SliceSet, ct: SliceSet) -> None:
        check_paired(mr, ct)
        self.recipe, self.slices = recipe, {"mr": mr, "ct": ct}
        self.generators = nn.ModuleDict({"to_ct": build_generator(recipe)})
        self.discriminators = nn.ModuleDict()
        self.rates, self.pools = {"generators": recipe.rate}, {}

    def step(self, draw: Callable[..., torch.Generator], done: float) -> dict[str, Tensor]:
        batch = paired_batch(*self.slices.values(), self.recipe, draw("batch"), self.device)
        fake = lowered(self.generators["to_ct"])(batch["mr"])
        loss = losses.mean_where(batch["body"], (fake - batch["ct"]).abs())
        descend(self.optimisers["generators"], loss)
        return {"l1": loss}


def check_paired(mr: SliceSet, ct: SliceSet) -> None:
    """Raise an InputError unless every MR slice has its CT slice."""
    if [patient["body"] for patient in mr.about] != [patient["body"] for patient in ct.about]:
        raise InputError("a paired model needs an MR, a CT and a mask file on one grid in every case")


def paired_batch(
    mr: SliceSet, ct: SliceSet, recipe: Recipe, generator: torch.Generator, device: torch.device
) -> dict[str, Tensor]:
    """MR, CT and body of the same slices, some of them in the mirror."""
    i = torch.randperm(len(mr), generator=generator)[: recipe.batch]
    mr, ct = mr.take(i, device), ct.take(i, device)
    together = {"mr": mr.images, "body": mr.masks, "ct": ct.images}
    return mirrored(together, generator)


GAMES = {"cyclegan": CycleGan, "paired": Paired}


class TranslationTraining(Training):
    """The training of a recipe's networks on slices of MR and CT.

    folder: where the checkpoint lies or will lie; None keeps everything in memory. game: another than that of `GAMES`;
    also: what else is said of the averaged generator in each row of the history.

    Attributes: `game` (its `generators` and `discriminators` by name), `averaged` (the generator to use, MR to CT),
    `watched` (the slices that are looked at), and those of `Training`.

    Raises:
        InputError: fewer slices than a batch, or a checkpoint in `folder` of another recipe or other patients.
    """

    def __init__(
        self, recipe: Recipe, mr: SliceSet, ct: SliceSet, tier: Tier, folder: str | Path | None = None,
        game: Any = None, also: Callable[[nn.Module], dict[str, float]] = lambda generator: {},
    ) -> None:  # fmt: skip
        if min(len(mr), len(ct)) < recipe.batch:
            few = f"{len(mr)} MR and {len(ct)} CT slices"
            raise InputError(f"{few} are fewer than a batch of {recipe.batch}: add cases")
        mr, ct = mr.resident(tier.device), ct.resident(tier.device)
        seed_everything(recipe.seed, "weights")
        self.recipe, self.game = recipe, (game or GAMES[recipe.model])(recipe, mr, ct)
        networks, self.game.device, self.game.optimisers = {}, tier.device, {}
        on_gpu = tier.device.type == "cuda"
        order = torch.channels_last if on_gpu else torch.contiguous_format  # in memory; each is the faster one there
        for kind in ("generators", "discriminators"):
            of_kind = getattr(self.game, kind).to(tier.device, memory_format=order)
            networks |= {f"{kind}.{name}": network for name, network in of_kind.items()}
            if parameters := list(of_kind.parameters()):
                rate = self.game.rates[kind]
                self.game.optimisers[kind] = torch.optim.Adam(parameters, rate, betas=(0.5, 0.999), fused=on_gpu)
        # The average forgets faster at first, to leave the start behind.
        follows = Average(self.game.generators["to_ct"], lambda step: min(recipe.average, step / (9 + step)))
        self.averaged, self.watched = follows.module, Watch.choose(mr, ct, tier.device)
        lasting = {name: value for name, value in recipe.to_json().items() if name not in ("steps", "watch_every")}
        belongs_to = {"recipe": lasting, "patients": {"mr": who(mr), "ct": who(ct)}}
        looks = [patient["looks"] for patient in mr.about if "looks" in patient]
        super().__init__(
            self.game.step, networks | {"averaged": self.averaged}, self.game.optimisers, steps=recipe.steps,
            schedule=recipe.rate_at, averages={"generators.to_ct": follows}, pools=self.game.pools,
            watch=lambda: self.watched.look(self.averaged, self.game.learns_air) | also(self.averaged),
            watch_every=recipe.watch_every, seed=recipe.seed, checkpoint=Path(folder) / CHECKPOINT if folder else None,
            belongs_to=belongs_to, notes={"typical": typical(looks)} if looks else {},
        )  # fmt: skip

    def run(self, on_watch: Callable[[Training], None] | None = None) -> TranslationTraining:
        """Train to the end; says aloud when the fake CT drifts."""

        def look(training: Training) -> None:
            if on_watch:
                on_watch(training)
            if self.step >= self.steps / 4:  # a beginner is wrong in every way
                for alarm in drift_alarms(self.history):
                    tqdm.write(f"step {self.step}: {alarm}")

        return super().run(look)


def who(slices: SliceSet) -> dict[str, Any]:
    """Whose slices these are, and how many, in JSON: the same on every machine where they come from files."""
    patients = [{key: patient[key] for key in ("name", "digest")} for patient in slices.about]
    return {"slices": len(slices), "patients": patients or digest(slices.stored_images, slices.stored_depths)}


def read_run(run: str | Path) -> tuple[dict[str, Tensor], dict[str, Any], Recipe]:
    """(tensors by name, what the training said about itself, its recipe) from the folder of a translation training.

    Raises:
        InputError: the checkpoint is missing, or not of a translation training.
    """
    path = Path(run) / CHECKPOINT
    tensors, about = read_checkpoint(path)
    try:
        return tensors, about, Recipe.from_json(about["belongs_to"]["recipe"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not from a translation training; name another run, or train again") from error


# ---------------------------------------------------------------------------------------------------- watching


@dataclass(frozen=True)
class Watch:
    """A fixed handful of slices that are looked at now and then. No pairs are needed."""

    mr: Tensor
    mr_mask: Tensor
    ct: Tensor
    ct_mask: Tensor

    @classmethod
    def choose(cls, mr: SliceSet, ct: SliceSet, device: torch.device, count: int = 24) -> Watch:
        i, j = (torch.linspace(0, len(s) - 1, min(count, len(s))).long() for s in (mr, ct))
        mr, ct = mr.take(i, device), ct.take(j, device)
        return cls(mr.images, mr.masks, ct.images, ct.masks)

    @torch.no_grad()
    def look(self, generator: nn.Module, learns_air: bool = True) -> dict[str, float]:
        """The three signs of drift: correlation of fake CT with its MR in the body, share of the body above 300 HU as a
        ratio to real CT, and mean HU outside the body, which is that of air if the generator need not learn it."""
        fake = generator(self.mr).float()
        if not learns_air:
            fake = torch.where(self.mr_mask, fake, -1.0)
        both = torch.stack([fake[self.mr_mask], self.mr[self.mr_mask]])
        bone = float(normalise_ct(np.float32(metrics.BONE), np.bool_(True)))
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
