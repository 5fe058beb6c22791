"""What is trained for translation: the recipe of a training, and the games that networks play on slices.

A *game* knows its networks, what a batch is and what is asked of them. The loop of `mrctlib.training.translation` knows
the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib import losses
from mrctlib.data.cohorts import Case, SliceSet, draw_typical, slice_set, typical_body, unpaired_batch, unpaired_halves
from mrctlib.losses import Schedule
from mrctlib.models.translation import ImagePool, PatchDiscriminator, ResnetGenerator, SliceDiscriminator, UnetGenerator
from mrctlib.runtime import InputError, Tier

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
    """The recipe of a model, a key of `GAMES`, at a tier.

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
        steps=520,
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
    if model in ONE_WAY:
        # A Wasserstein critic should be ahead of its generator; any other, at the same rate, soon knows every fake.
        critic = tier.pick(cpu=1e-3, gpu=2e-4) if ONE_WAY[model].loss is losses.WASSERSTEIN else 2e-4
        recipe = replace(recipe, rate=tier.pick(cpu=1e-3, gpu=2e-4), discriminator_rate=critic)
    if model == "paired":
        # One network and one pass a step: more steps in a fraction of the time.
        recipe = replace(recipe, steps=tier.pick(cpu=840, gpu=20_000))
    return replace(recipe, steps=steps) if steps else recipe


PHANTOM_SHAPES = {"cpu": (80, 80, 48), "gpu": (256, 256, 96)}
"""Grid of the phantom patients at each tier: voxels of 3.2 x 3.2 x 4 mm, or 1 x 1 x 2 mm."""


def build_generator(recipe: Recipe) -> nn.Module:
    if recipe.generator == "resnet":
        return ResnetGenerator(recipe.base, recipe.depth, recipe.kernel)
    return UnetGenerator(recipe.base, recipe.depth)


def cohort_slices(cases: Sequence[Case], recipe: Recipe) -> tuple[dict[str, list[str]], SliceSet, SliceSet]:
    """(names of the patients used by modality, MR slices, CT slices) for a recipe.

    For an unpaired model no patient gives both; for a paired model every patient does.

    Raises:
        InputError: see `slice_set`.
    """
    paired = recipe.model in ONE_WAY and ONE_WAY[recipe.model].paired
    for_mr, for_ct = (list(cases), list(cases)) if paired else unpaired_halves(cases, recipe.seed)
    sets = [slice_set(part, m, recipe.spacing, recipe.size) for part, m in ((for_mr, "mr"), (for_ct, "ct"))]
    return {"mr": [c.name for c in for_mr], "ct": [c.name for c in for_ct]}, *sets


# ---------------------------------------------------------------------------------------------------- games


class Game:
    """What the loop asks of every game, and what most of them need not say.

    A game has `slices` by modality, `generators` (one of them "to_ct"), `discriminators` and `pools` by name, and the
    methods `batch`, `generator_losses` and `discriminator_loss`.
    """

    critic_steps = 1  # of the discriminators, for one of the generators
    learns_air = True  # or is air put outside the body, as `synthesize` does with every synthetic CT

    def tame(self) -> None:
        """What is done to the discriminators after each of their steps: here nothing."""


class CycleGame(Game):
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


@dataclass(frozen=True)
class OneWay:
    """What a single generator, from MR to CT, learns from.

    paired: the MR and the CT of a batch are of the same slices; l1: weight of the mean absolute difference between
    them, in the body; loss: what a discriminator adds, None for none. Of the discriminator: sees_mr: it is shown the
    MR as well; patches: it judges patches, not the slice; critic_steps: how many it takes for one of the generator;
    clip: its weights are cut to -clip to clip; slope: a gradient penalty keeps its slope near 1.
    """

    paired: bool = False
    l1: float = 0.0
    loss: losses.GanLoss | None = losses.NON_SATURATING
    sees_mr: bool = False
    patches: bool = False
    critic_steps: int = 1
    clip: float | None = None
    slope: bool = False


ONE_WAY = {
    "paired": OneWay(paired=True, l1=1.0, loss=None),  # the yardstick for those who have to do without the answers
    "gan": OneWay(),
    "gan-paired": OneWay(paired=True),
    "gan-sees-mr": OneWay(paired=True, sees_mr=True),
    "wgan": OneWay(loss=losses.WASSERSTEIN, critic_steps=4, clip=0.001),
    "wgan-gp": OneWay(loss=losses.WASSERSTEIN, critic_steps=4, slope=True),
    "pix2pix": OneWay(paired=True, l1=100.0, sees_mr=True, patches=True),  # Isola et al. 2017
}


class OneWayGame(Game):
    """One generator from MR to CT, with or without answers and with or without a discriminator: see `ONE_WAY`.

    What the generator paints outside the body is nobody's concern. Learning the air as well costs a small network much.
    """

    learns_air = False

    def __init__(self, recipe: Recipe, mr: SliceSet, ct: SliceSet) -> None:
        self.recipe, self.slices, self.kind = recipe, {"mr": mr, "ct": ct}, ONE_WAY[recipe.model]
        if self.kind.paired and (len(mr) != len(ct) or not torch.equal(mr.masks, ct.masks)):
            raise InputError("a paired model needs an MR, a CT and a mask file on one grid in every case")
        self.critic_steps = self.kind.critic_steps
        self.generators = nn.ModuleDict({"to_ct": build_generator(recipe)})
        self.discriminators = nn.ModuleDict({"ct": self._discriminator()} if self.kind.loss else {})
        self.pools: dict[str, ImagePool] = {}

    def _discriminator(self) -> nn.Module:
        base, channels = self.recipe.discriminator_base, 1 + self.kind.sees_mr
        if self.kind.patches:
            return PatchDiscriminator(base, self.recipe.discriminator_layers, channels)
        return SliceDiscriminator(self.recipe.size, base, channels, norm=not self.kind.slope)

    def batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        mr, ct = self.slices.values()
        if self.kind.paired:
            i = torch.randperm(len(mr), generator=generator)[: self.recipe.batch]
            return mirrored({"mr": mr.images[i], "body": mr.masks[i], "ct": ct.images[i]}, generator)
        i, j = unpaired_batch(mr, ct, self.recipe.batch, generator)
        of_mr = mirrored({"mr": mr.images[i], "body": mr.masks[i]}, generator)
        return of_mr | mirrored({"ct": ct.images[j]}, generator)

    def generator_losses(self, batch: dict[str, Tensor], done: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        fake = self.generators["to_ct"](batch["mr"])
        fake = torch.where(batch["body"], fake, -1.0)
        terms = {"l1": self.kind.l1 * (fake - batch["ct"])[batch["body"]].abs().mean()} if self.kind.l1 else {}
        if not self.kind.loss:
            return terms, {}
        terms["gan"] = self.kind.loss.generator(self.discriminators["ct"](self.shown(fake, batch)))
        return terms, {"ct": fake.detach()}

    def discriminator_loss(self, batch: dict[str, Tensor], fakes: dict[str, Tensor]) -> Tensor:
        judge, real, fake = self.discriminators["ct"], self.shown(batch["ct"], batch), self.shown(fakes["ct"], batch)
        loss = self.kind.loss.discriminator(judge(real), judge(fake))
        return loss + losses.gradient_penalty(judge, real, fake) if self.kind.slope else loss

    def shown(self, ct: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """What the discriminator sees, (N, 1 or 2, H, W): the CT, or CT and MR."""
        return torch.cat([ct, batch["mr"]], 1) if self.kind.sees_mr else ct

    def tame(self) -> None:
        if self.kind.clip:
            for parameter in self.discriminators.parameters():
                parameter.data.clamp_(-self.kind.clip, self.kind.clip)


GAMES = {"cyclegan": CycleGame} | dict.fromkeys(ONE_WAY, OneWayGame)
