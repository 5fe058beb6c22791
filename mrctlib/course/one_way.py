"""One generator from MR to CT against a discriminator: the GANs, WGANs and pix2pix of the comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mrctlib import losses
from mrctlib.data.slices import SliceSet, mirrored, unpaired_batch
from mrctlib.models.translation import PatchDiscriminator
from mrctlib.runtime import lowered
from mrctlib.training.descent import descend
from mrctlib.training.gan import clip_weights
from mrctlib.training.recipe import AdversarialRecipe, build_generator
from mrctlib.training.translation import check_paired, paired_batch


@dataclass(frozen=True)
class OneWayRecipe(AdversarialRecipe):
    """A single generator, from MR to CT, against a discriminator of patches.

    l1: weight of the mean absolute difference from the true CT, in the body; above 0 the batches are pairs, and the
    discriminator is shown the MR as well (pix2pix). Of the discriminator: wasserstein: its loss, else cross-entropy;
    critic_steps: how many it takes for one of the generator; clip: its weights are cut to -clip to clip; slope: a
    gradient penalty keeps its slope near 1.
    """

    l1: float = 0.0
    wasserstein: bool = False
    critic_steps: int = 1
    clip: float = 0.0
    slope: bool = False

    @property
    def paired(self) -> bool:
        return self.l1 > 0


class OneWay:
    """One generator from MR to CT, with or without answers, and a discriminator.

    What the generator paints outside the body is nobody's concern. Learning the air as well costs a small network much.
    """

    learns_air = False

    def __init__(self, recipe: OneWayRecipe, mr: SliceSet, ct: SliceSet) -> None:
        if recipe.paired:
            check_paired(mr, ct)
        self.recipe, self.slices, self.pools = recipe, {"mr": mr, "ct": ct}, {}
        self.loss = losses.WASSERSTEIN if recipe.wasserstein else losses.NON_SATURATING
        self.generators = nn.ModuleDict({"to_ct": build_generator(recipe)})
        judge = PatchDiscriminator(recipe.discriminator_base, recipe.discriminator_layers, 1 + recipe.paired)
        self.discriminators = nn.ModuleDict({"ct": judge})
        self.rates = {"generators": recipe.rate, "discriminators": recipe.discriminator_rate}

    def step(self, draw: Callable[..., torch.Generator], done: float) -> dict[str, Tensor]:
        """The generator learns first; then the discriminator, on new slices in each of its further turns."""
        recipe, judge = self.recipe, self.discriminators["ct"].requires_grad_(False)
        batch = self.batch(draw("batch"))
        fake = self.fake(batch)
        terms = {"l1": recipe.l1 * losses.mean_where(batch["body"], (fake - batch["ct"]).abs())} if recipe.l1 else {}
        terms["gan"] = self.loss.generator(lowered(judge)(self.shown(fake, batch)))
        descend(self.optimisers["generators"], sum(terms.values()))
        judge.requires_grad_(True)
        for turn in range(recipe.critic_steps):
            if turn:
                batch = self.batch(draw("batch", turn))
                with torch.no_grad():
                    fake = self.fake(batch)
            real, made = self.shown(batch["ct"], batch), self.shown(fake.detach(), batch)
            judged = self.loss.discriminator(lowered(judge)(real), lowered(judge)(made))
            if recipe.slope:
                # The slope of what it says of a whole image: the sum over its patches would be far too steep.
                judged = judged + losses.gradient_penalty(lambda image: judge(image).mean((1, 2, 3)), real, made)
            descend(self.optimisers["discriminators"], judged)
            if recipe.clip:
                clip_weights(judge, recipe.clip)
        return terms | {"discriminator": judged}

    def batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        mr, ct = self.slices.values()
        if self.recipe.paired:
            return paired_batch(mr, ct, self.recipe, generator, self.device)
        i, j = unpaired_batch(mr, ct, self.recipe.batch, generator)
        seen, shown = mr.take(i, self.device), ct.take(j, self.device)
        batch = mirrored({"mr": seen.images, "body": seen.masks}, generator)
        return batch | mirrored({"ct": shown.images}, generator)

    def fake(self, batch: dict[str, Tensor]) -> Tensor:
        return torch.where(batch["body"], lowered(self.generators["to_ct"])(batch["mr"]), -1.0)

    def shown(self, ct: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """What the discriminator sees, (N, 1 or 2, H, W): the CT, or CT and MR."""
        return torch.cat([ct, batch["mr"]], 1) if self.recipe.paired else ct
