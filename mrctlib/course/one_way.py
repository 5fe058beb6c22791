"""One generator from MR to CT against a discriminator: the GANs, WGANs and pix2pix of the comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mrctlib import losses
from mrctlib.data.slices import SliceSet, mirrored, unpaired_batch
from mrctlib.models.translation import PatchDiscriminator, init_weights
from mrctlib.runtime import lowered
from mrctlib.training.descent import descend
from mrctlib.training.gan import clip_weights
from mrctlib.training.recipe import AdversarialRecipe, build_generator
from mrctlib.training.translation import check_paired, paired_batch


@dataclass(frozen=True)
class OneWayRecipe(AdversarialRecipe):
    """A single generator, from MR to CT, against a discriminator.

    pairs: the MR and the CT of a batch are of the same slices; l1: weight of the mean absolute difference between
    them, in the body. Of the discriminator: wasserstein: its loss, else cross-entropy; sees_mr: it is shown the MR as
    well; patches: it judges patches, not the slice; critic_steps: how many it takes for one of the generator; clip: its
    weights are cut to -clip to clip; slope: a gradient penalty keeps its slope near 1.
    """

    pairs: bool = False
    l1: float = 0.0
    wasserstein: bool = False
    sees_mr: bool = False
    patches: bool = False
    critic_steps: int = 1
    clip: float = 0.0
    slope: bool = False

    @property
    def paired(self) -> bool:
        return self.pairs


class OneWay:
    """One generator from MR to CT, with or without answers, and a discriminator.

    What the generator paints outside the body is nobody's concern. Learning the air as well costs a small network much.
    """

    learns_air = False

    def __init__(self, recipe: OneWayRecipe, mr: SliceSet, ct: SliceSet) -> None:
        if recipe.pairs:
            check_paired(mr, ct)
        self.recipe, self.slices, self.pools = recipe, {"mr": mr, "ct": ct}, {}
        self.loss = losses.WASSERSTEIN if recipe.wasserstein else losses.NON_SATURATING
        self.generators = nn.ModuleDict({"to_ct": build_generator(recipe)})
        base, channels = recipe.discriminator_base, 1 + recipe.sees_mr
        judge = (
            PatchDiscriminator(base, recipe.discriminator_layers, channels)
            if recipe.patches
            else SliceDiscriminator(recipe.size, base, channels, norm=not recipe.slope)
        )
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
                judged = judged + losses.gradient_penalty(judge, real, made)
            descend(self.optimisers["discriminators"], judged)
            if recipe.clip:
                clip_weights(judge, recipe.clip)
        return terms | {"discriminator": judged}

    def batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        mr, ct = self.slices.values()
        if self.recipe.pairs:
            return paired_batch(mr, ct, self.recipe, generator, self.device)
        i, j = unpaired_batch(mr, ct, self.recipe.batch, generator)
        seen, shown = mr.take(i, self.device), ct.take(j, self.device)
        batch = mirrored({"mr": seen.images, "body": seen.masks}, generator, self.recipe.mirror)
        return batch | mirrored({"ct": shown.images}, generator, self.recipe.mirror)

    def fake(self, batch: dict[str, Tensor]) -> Tensor:
        return torch.where(batch["body"], lowered(self.generators["to_ct"])(batch["mr"]), -1.0)

    def shown(self, ct: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """What the discriminator sees, (N, 1 or 2, H, W): the CT, or CT and MR."""
        return torch.cat([ct, batch["mr"]], 1) if self.recipe.sees_mr else ct


class SliceDiscriminator(nn.Module):
    """(N, channels, size, size), size a multiple of 16, to (N,): one score for the whole slice.

    The discriminator of the first GANs with convolutions (Radford et al. 2016): four 3 x 3 convolutions with stride 2
    and width base, 2, 4 and 8 base, batch normalisation but in the first, dropout of 15% between and 40% before the
    score. norm: off for a critic whose slope is penalised (Gulrajani et al. 2017), since a batch would share it.
    """

    def __init__(self, size: int, base: int = 64, channels: int = 1, *, norm: bool = True) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        for level in range(4):
            width = base * 2**level
            modules += [nn.Conv2d(channels, width, 3, 2, 1)]
            modules += [nn.BatchNorm2d(width)] if norm and level else []
            modules += [nn.LeakyReLU(0.2, inplace=True), nn.Dropout(0.15 if level < 3 else 0.4)]
            channels = width
        self.layers = nn.Sequential(*modules, nn.Flatten(), nn.Linear(channels * (size // 16) ** 2, 1), nn.Flatten(0))
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
