"""The training loop for translation, and what to watch while it runs.

One loop serves every translation model. A *game* knows its networks, what a batch is and what is asked of them; the
loop knows steps, learning rates, the averaged generator, what to watch, and how to stop and go on.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib import losses
from mrctlib.data.cohorts import (
    Case,
    SliceSet,
    draw_typical,
    slice_set,
    typical_body,
    unpaired_batch,
    unpaired_halves,
)
from mrctlib.data.volumes import denormalise_ct, normalise_ct
from mrctlib.losses import Schedule
from mrctlib.models.translation import ImagePool, PatchDiscriminator, ResnetGenerator, UnetGenerator
from mrctlib.runtime import InputError, Tier, derive_seed, progress, seed_everything
from mrctlib.training.checkpoints import (
    CHECKPOINT,
    load_optimiser,
    optimiser_tensors,
    read_checkpoint,
    under,
    write_checkpoint,
)
from mrctlib.training.engine import accelerator_for, descend

DEPTH_SEEN_MM = 8.0  # skin, fat and skull lie within the first 20 mm


# ---------------------------------------------------------------------------------------------------- recipes


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a training goes, saved with its result. The defaults are those of Zhu et al. 2017.

    model: a key of `GAMES`; generator: "resnet" or "unet", `base` channels wide, `depth` blocks or halvings deep;
    kernel: of the ResNet's first and last layer; sees_depth: the discriminators are told how deep in the body a pixel
    lies; spacing (mm) and size (pixels): of the slices; constant: share of the steps before the learning rates fall;
    noise: standard deviation of the noise on a fake before the way back; average: decay of the averaged generator;
    gan to profile: the weights of the losses, over the training.
    """

    model: str = "cyclegan"
    generator: str = "resnet"
    base: int = 64
    depth: int = 9
    kernel: int = 7
    discriminator_base: int = 64
    discriminator_layers: int = 3
    sees_depth: bool = False
    spacing: float = 1.0
    size: int = 256
    batch: int = 1
    steps: int = 200_000
    rate: float = 2e-4
    discriminator_rate: float = 2e-4
    constant: float = 0.5
    gan: Schedule = Schedule(1, 1)
    cycle: Schedule = Schedule(10, 10)
    identity: Schedule = Schedule(5, 5)
    mind: Schedule = Schedule(0, 0)
    background: Schedule = Schedule(0, 0)
    profile: Schedule = Schedule(0, 0)
    noise: float = 0.0
    pool: int = 50
    average: float = 0.999
    watch_every: int = 1000
    seed: int = 0

    def rate_at(self, done: float) -> float:
        """Share of the learning rates at a share `done` of the training: 1 at first, then in a straight line to 0."""
        return min(1.0, (1.0 - done) / (1.0 - self.constant))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Recipe:
        return cls(**{name: Schedule(**value) if isinstance(value, dict) else value for name, value in values.items()})


def recipe_for(model: str, tier: Tier, *, seed: int = 0, steps: int | None = None) -> Recipe:
    """The recipe of a model ("cyclegan" or "paired") at a tier.

    On the CPU minutes must do, so everything is small, the learning rates are high, and the unpaired game gets all the
    help that needs no pairs: discriminators that know the depth, MIND, the background and the profile.

    Raises:
        InputError: an unknown model.
    """
    if model not in GAMES:
        raise InputError(f"model {model!r}: choose one of {', '.join(GAMES)}")
    small = Recipe(
        generator="unet",
        base=12,
        depth=3,
        discriminator_base=32,
        discriminator_layers=2,
        sees_depth=True,
        spacing=3.2,
        size=64,
        batch=4,
        steps=420,
        rate=3e-3,
        discriminator_rate=1e-3,
        constant=0.4,
        gan=Schedule(1, 0.2),
        cycle=Schedule(5, 5),
        identity=Schedule(0, 0),
        mind=Schedule(4, 4),
        background=Schedule(5, 5),
        profile=Schedule(20, 10),
        noise=0.03,
        average=0.99,
        watch_every=50,
    )
    full = Recipe(
        batch=4,
        sees_depth=True,
        cycle=Schedule(10, 5),
        identity=Schedule(5, 0, until=0.5),
        mind=Schedule(5, 5),
        background=Schedule(5, 5),
        profile=Schedule(10, 0, until=0.5),
        noise=0.03,
    )
    recipe = replace(tier.pick(cpu=small, gpu=full), model=model, seed=seed)
    if model == "paired":
        # One network and one pass a step: as many steps in a fraction of the time.
        recipe = replace(recipe, steps=tier.pick(cpu=300, gpu=20_000))
    return replace(recipe, steps=steps) if steps else recipe


PHANTOM_SHAPES = {"cpu": (80, 80, 48), "gpu": (256, 256, 96)}
"""Grid of the phantom patients at each tier: voxels of 3.2 x 3.2 x 4 mm, or 1 x 1 x 2 mm."""


def build_generator(recipe: Recipe) -> nn.Module:
    if recipe.generator == "resnet":
        return ResnetGenerator(recipe.base, recipe.depth, recipe.kernel)
    return UnetGenerator(recipe.base, recipe.depth)


def cohort_slices(cases: Sequence[Case], recipe: Recipe) -> tuple[dict[str, list[str]], SliceSet, SliceSet]:
    """(names of the patients used by modality, MR slices, CT slices) for a recipe.

    For the unpaired model no patient gives both; for the paired model every patient does.

    Raises:
        InputError: see `slice_set`.
    """
    paired = recipe.model == "paired"
    for_mr, for_ct = (list(cases), list(cases)) if paired else unpaired_halves(cases, recipe.seed)
    sets = [slice_set(part, m, recipe.spacing, recipe.size) for part, m in ((for_mr, "mr"), (for_ct, "ct"))]
    return {"mr": [c.name for c in for_mr], "ct": [c.name for c in for_ct]}, *sets


# ---------------------------------------------------------------------------------------------------- games


class CycleGame:
    """Two generators, two discriminators, and slices that were never a pair. Zhu et al. 2017."""

    def __init__(self, recipe: Recipe, mr: SliceSet, ct: SliceSet) -> None:
        self.recipe, self.slices = recipe, {"mr": mr, "ct": ct}
        self.generators = nn.ModuleDict({"to_ct": build_generator(recipe), "to_mr": build_generator(recipe)})
        channels = 2 if recipe.sees_depth else 1
        self.discriminators = nn.ModuleDict(
            {
                name: PatchDiscriminator(recipe.discriminator_base, recipe.discriminator_layers, channels)
                for name in ("ct", "mr")
            }
        )
        self.pools = {"ct": ImagePool(recipe.pool), "mr": ImagePool(recipe.pool)}
        self.typical = {name: typical_body(slices) for name, slices in self.slices.items()}

    def batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Images, depths, and what is typical in the *other* modality for a body of that shape."""
        chosen = dict(
            zip(("mr", "ct"), unpaired_batch(*self.slices.values(), self.recipe.batch, generator), strict=True)
        )
        batch = {}
        for name, other in (("mr", "ct"), ("ct", "mr")):
            slices, index = self.slices[name], chosen[name]
            depths = slices.depths[index]
            typical = draw_typical(self.typical[other], slices.heights[index], depths)
            batch |= mirrored(
                {name: slices.images[index], f"{name}_depth": depths, f"typical_{other}": typical}, generator
            )
        return batch

    def generator_losses(self, batch: dict[str, Tensor], done: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(weighted losses of the two generators by name, the fakes for the discriminators)."""
        recipe, mr, ct = self.recipe, batch["mr"], batch["ct"]
        to_ct, to_mr = self.generators["to_ct"], self.generators["to_mr"]
        names = ("gan", "cycle", "identity", "mind", "background", "profile")
        weight = {name: getattr(recipe, name).at(done) for name in names}

        # Instance normalisation treats every image by itself, so fake and identity can share one pass.
        if weight["identity"]:
            fake_ct, same_ct = to_ct(torch.cat([mr, ct])).chunk(2)
            fake_mr, same_mr = to_mr(torch.cat([ct, mr])).chunk(2)
        else:
            fake_ct, fake_mr = to_ct(mr), to_mr(ct)
        # Noise drowns what the generator might hide in invisible texture for its partner to read.
        back_mr = to_mr(fake_ct + recipe.noise * torch.randn_like(fake_ct))
        back_ct = to_ct(fake_mr + recipe.noise * torch.randn_like(fake_mr))

        fakes = {"ct": self.shown(fake_ct, batch["mr_depth"]), "mr": self.shown(fake_mr, batch["ct_depth"])}
        terms = {
            "gan": sum(self.judge(name, fake, real=True) for name, fake in fakes.items()),
            "cycle": losses.cycle_consistency(mr, back_mr) + losses.cycle_consistency(ct, back_ct),
        }
        if weight["identity"]:
            terms["identity"] = losses.identity(ct, same_ct) + losses.identity(mr, same_mr)
        if weight["mind"]:
            terms["mind"] = losses.mind_consistency(mr, fake_ct) + losses.mind_consistency(ct, fake_mr)
        for name, loss in (("background", losses.background), ("profile", losses.profile)):
            if weight[name]:
                terms[name] = loss(fake_ct, batch["mr_depth"], batch["typical_ct"]) + loss(
                    fake_mr, batch["ct_depth"], batch["typical_mr"]
                )
        return {name: weight[name] * term for name, term in terms.items()}, fakes

    def discriminator_loss(self, batch: dict[str, Tensor], fakes: dict[str, Tensor]) -> Tensor:
        """Half the loss on real images and half on fakes, some of them old, summed over the two discriminators."""
        return (
            sum(
                self.judge(name, self.shown(batch[name], batch[f"{name}_depth"]), real=True)
                + self.judge(name, self.pools[name].query(fakes[name]), real=False)
                for name in self.discriminators
            )
            / 2
        )

    def shown(self, image: Tensor, depth: Tensor) -> Tensor:
        """What a discriminator sees, (N, 2, H, W): the image, and 1 outside the body falling to 0 deep inside.

        The second channel is handed over even to a discriminator that is not to see it: it tells where the body is.
        """
        return torch.cat([image, torch.exp(-depth / DEPTH_SEEN_MM)], 1)

    def judge(self, name: str, shown: Tensor, *, real: bool) -> Tensor:
        """GAN loss over the patches, each counted by how much body it holds: air looks the same, real or fake."""
        scores = self.discriminators[name](shown if self.recipe.sees_depth else shown[:, :1])
        body = F.adaptive_avg_pool2d((shown[:, 1:] < 1).float(), scores.shape[-2:])
        return losses.least_squares_gan(scores, real, body)


def mirrored(together: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Mirror right and left in half of the images; the named (N, 1, R, A) tensors turn together."""
    first = next(iter(together.values()))
    coin = torch.rand(len(first), 1, 1, 1, generator=generator) < 0.5
    return {name: torch.where(coin, images.flip(2), images) for name, images in together.items()}


class PairedGame:
    """One generator and slices that are pairs: what supervision would give, the yardstick for the unpaired game."""

    def __init__(self, recipe: Recipe, mr: SliceSet, ct: SliceSet) -> None:
        if len(mr) != len(ct) or not torch.equal(mr.masks, ct.masks):
            raise InputError("the paired model needs an MR, a CT and a mask file on one grid in every case")
        self.recipe, self.mr, self.ct = recipe, mr, ct
        self.generators = nn.ModuleDict({"to_ct": build_generator(recipe)})
        self.discriminators = nn.ModuleDict()
        self.pools: dict[str, ImagePool] = {}

    def batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        i = torch.randperm(len(self.mr), generator=generator)[: self.recipe.batch]
        return mirrored({"mr": self.mr.images[i], "ct": self.ct.images[i]}, generator)

    def generator_losses(self, batch: dict[str, Tensor], done: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return {"l1": (self.generators["to_ct"](batch["mr"]) - batch["ct"]).abs().mean()}, {}


GAMES = {"cyclegan": CycleGame, "paired": PairedGame}


# ---------------------------------------------------------------------------------------------------- the loop


class TranslationTraining:
    """A training that can be watched, interrupted, and taken up again where it was.

    Every random choice of a step is drawn from (seed, step), so a training that was killed and resumed from its
    checkpoint goes on to the same weights, to the last bit on a CPU, as one that never stopped.

    folder: where the checkpoint lies or will lie; None keeps everything in memory.

    Raises:
        InputError: fewer slices than a batch, or a checkpoint in `folder` that belongs to another recipe.
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
        for _ in bar:
            for name, value in self.one_step().items():
                sums[name] = sums.get(name, 0.0) + value
            self.step += 1
            if self.step % recipe.watch_every == 0 or self.step == recipe.steps:
                since = self.step % recipe.watch_every or recipe.watch_every
                row = {"step": self.step} | {name: value / since for name, value in sums.items()}
                row |= self.watched.look(self.averaged)
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
        return self

    def one_step(self) -> dict[str, float]:
        recipe, game = self.recipe, self.game
        done = self.step / recipe.steps
        place = self.accelerator.process_index
        batch = game.batch(torch.Generator().manual_seed(derive_seed(recipe.seed, self.step, place, "batch")))
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        seed_everything(recipe.seed, self.step, place, "step")
        for name, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = self.rates[name] * recipe.rate_at(done)

        game.discriminators.requires_grad_(False)
        with self.accelerator.autocast():
            terms, fakes = game.generator_losses(batch, done)
        descend(self.accelerator, self.optimisers["generators"], sum(terms.values()))
        self._average()
        result = {name: term.detach() for name, term in terms.items()}

        if fakes:
            game.discriminators.requires_grad_(True)
            with self.accelerator.autocast():
                loss = game.discriminator_loss(batch, fakes)
            descend(self.accelerator, self.optimisers["discriminators"], loss)
            result["discriminator"] = loss.detach()
        return {name: float(value) for name, value in result.items()}

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
    def look(self, generator: nn.Module) -> dict[str, float]:
        """The three signs of drift: correlation of fake CT with its MR in the body, share of the body above 300 HU as a
        ratio to real CT, and mean HU outside the body."""
        fake = generator(self.mr).float()
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
