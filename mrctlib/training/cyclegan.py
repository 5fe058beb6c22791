"""The CycleGAN: two generators, two discriminators, and slices that were never a pair. Zhu et al. 2017.

This file is the method: the four functions at the top. Lab 8 lets students write them; a subclass of `CycleGan` with
theirs trains with theirs. The loop that takes the steps knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib import losses
from mrctlib.data.slices import SliceSet, draw_typical, mirrored, typical_body, unpaired_batch
from mrctlib.models.translation import ImagePool, PatchDiscriminator, remember
from mrctlib.runtime import lowered, to_device
from mrctlib.training.descent import descend
from mrctlib.training.recipe import CycleRecipe, build_generator

DEPTH_SEEN_MM = 8.0  # skin, fat and skull lie within the first 20 mm
Images = dict[str, Tensor]  # by domain, "mr" and "ct"
Judge = Callable[[str, Tensor, bool], Tensor]  # (domain, images, are they to be called real) to a loss


def round_trip(x: Tensor, there: nn.Module, back: nn.Module, noise: float) -> tuple[Tensor, Tensor]:
    """(the fake of x, what comes back of it); noise: standard deviation of that on the fake before the way back, which
    drowns what `there` might hide in invisible texture for its partner to read (Chu et al. 2017)."""
    fake = there(x)
    return fake, back(fake + noise * torch.randn_like(fake))


def generators_loss(judge: Judge, fakes: Images, real: Images, returned: Images) -> dict[str, Tensor]:
    """What both generators want, without weights: fakes that are called real ("gan"), images that come back ("cycle");
    both directions are summed."""
    gan = judge("ct", fakes["ct"], True) + judge("mr", fakes["mr"], True)
    return {"gan": gan, "cycle": sum(losses.cycle_consistency(real[name], returned[name]) for name in real)}


def discriminators_loss(judge: Judge, fakes: Images, real: Images) -> Tensor:
    """What both discriminators want: half the loss on real images and half on fakes. Nothing reaches the generators."""
    return sum(judge(name, real[name], True) + judge(name, fakes[name].detach(), False) for name in real) / 2


def take_step(
    discriminators: nn.Module, optimisers: dict[str, torch.optim.Optimizer],
    generators_turn: Callable[[], tuple[Tensor, Images]], discriminators_turn: Callable[[Images], Tensor],
) -> None:  # fmt: skip
    """The generators learn first, from discriminators that stand still; then these, from the fakes just made. The turns
    give the loss of the generators with their fakes, and from these the loss of the discriminators."""
    discriminators.requires_grad_(False)
    loss, fakes = generators_turn()
    descend(optimisers["generators"], loss)
    discriminators.requires_grad_(True)
    descend(optimisers["discriminators"], discriminators_turn(fakes))


class CycleGan:
    """The networks by name, the pools of old fakes, and the step that trains them."""

    learns_air = True  # or is air put outside the body, as `synthesize` does with every synthetic CT
    round_trip, generators_loss = staticmethod(round_trip), staticmethod(generators_loss)
    discriminators_loss, take_step = staticmethod(discriminators_loss), staticmethod(take_step)
    least_squares_gan, remember = staticmethod(losses.least_squares_gan), staticmethod(remember)

    def __init__(self, recipe: CycleRecipe, mr: SliceSet, ct: SliceSet) -> None:
        self.recipe, self.slices = recipe, {"mr": mr, "ct": ct}
        self.generators = nn.ModuleDict({"to_ct": build_generator(recipe), "to_mr": build_generator(recipe)})
        size = recipe.discriminator_base, recipe.discriminator_layers, 1 + recipe.sees_depth
        self.discriminators = nn.ModuleDict({name: PatchDiscriminator(*size) for name in ("ct", "mr")})
        self.rates = {"generators": recipe.rate, "discriminators": recipe.discriminator_rate}
        self.pools = {name: ImagePool(recipe.pool, self.remember) for name in ("ct", "mr")}
        self.typical = {name: typical_body(slices) for name, slices in self.slices.items()}

    def step(self, draw: Callable[..., torch.Generator], done: float) -> dict[str, Tensor]:
        """One step; the losses are told without their weights."""
        batch, told = self.batch(draw("batch")), {}

        def generators_turn() -> tuple[Tensor, Images]:
            terms, fakes = self.asked_of_generators(batch, done)
            told.update(terms)
            return sum(getattr(self.recipe, name).at(done) * term for name, term in terms.items()), fakes

        def discriminators_turn(fakes: Images) -> Tensor:
            seen = {name: pool.query(fakes[name]) for name, pool in self.pools.items()}
            real = {name: self.shown(batch[name], batch[f"{name}_depth"]) for name in ("ct", "mr")}
            told["discriminator"] = self.discriminators_loss(self.judge, seen, real)
            return told["discriminator"]

        self.take_step(self.discriminators, self.optimisers, generators_turn, discriminators_turn)
        return told

    def batch(self, generator: torch.Generator) -> Images:
        """Images, depths, and what is typical in the *other* modality for a body of that shape."""
        chosen = unpaired_batch(self.slices["mr"], self.slices["ct"], self.recipe.batch, generator)
        batch = {}
        for name, other, index in (("mr", "ct", chosen[0]), ("ct", "mr", chosen[1])):
            taken = self.slices[name].take(index, self.device)
            depths = taken.depths
            typical = draw_typical(to_device(self.typical[other], self.device), taken.heights, depths)
            together = {name: taken.images, f"{name}_depth": depths, f"typical_{other}": typical}
            batch |= mirrored(together, generator)
        return batch

    def asked_of_generators(self, batch: Images, done: float) -> tuple[dict[str, Tensor], Images]:
        """(losses of the two generators by name, without weights; the fakes as the discriminators see them)."""
        recipe, mr, ct = self.recipe, batch["mr"], batch["ct"]
        to_ct, to_mr = lowered(self.generators["to_ct"]), lowered(self.generators["to_mr"])
        fake_ct, back_mr = self.round_trip(mr, to_ct, to_mr, recipe.noise)
        fake_mr, back_ct = self.round_trip(ct, to_mr, to_ct, recipe.noise)
        fakes = {"ct": self.shown(fake_ct, batch["mr_depth"]), "mr": self.shown(fake_mr, batch["ct_depth"])}
        terms = self.generators_loss(self.judge, fakes, {"mr": mr, "ct": ct}, {"mr": back_mr, "ct": back_ct})
        asked = {name for name in ("identity", "mind", "background", "profile") if getattr(recipe, name).at(done)}
        if "identity" in asked:
            terms["identity"] = losses.identity(ct, to_ct(ct)) + losses.identity(mr, to_mr(mr))
        if "mind" in asked:
            terms["mind"] = losses.mind_consistency(mr, fake_ct) + losses.mind_consistency(ct, fake_mr)
        for name, loss in (("background", losses.background), ("profile", losses.profile)):
            if name in asked:
                of_ct = loss(fake_ct, batch["mr_depth"], batch["typical_ct"])
                terms[name] = of_ct + loss(fake_mr, batch["ct_depth"], batch["typical_mr"])
        return terms, fakes

    def shown(self, image: Tensor, depth: Tensor) -> Tensor:
        """What a discriminator sees, (N, 2, H, W): the image, and 1 outside the body falling to 0 deep inside.

        The second channel is handed over even to a discriminator that is not to see it: it tells where the body is.
        """
        return torch.cat([image, torch.exp(-depth / DEPTH_SEEN_MM)], 1)

    def judge(self, name: str, shown: Tensor, real: bool) -> Tensor:
        """GAN loss over the patches, each counted by how much body it holds: air looks the same, real or fake."""
        scores = lowered(self.discriminators[name])(shown if self.recipe.sees_depth else shown[:, :1])
        body = F.adaptive_avg_pool2d((shown[:, 1:] < 1).float(), scores.shape[-2:])
        return self.least_squares_gan(scores, real, body)
