"""The CycleGAN: two generators, two discriminators, and slices that were never a pair. Zhu et al. 2017.

This file is the method. What a step asks of the networks stands in `generator_losses` and `discriminator_loss`; the
loop that takes the steps knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib import losses
from mrctlib.data.slices import SliceSet, draw_typical, mirrored, typical_body, unpaired_batch
from mrctlib.models.translation import ImagePool, PatchDiscriminator
from mrctlib.runtime import lowered, to_device
from mrctlib.training.descent import descend
from mrctlib.training.recipe import CycleRecipe, build_generator

DEPTH_SEEN_MM = 8.0  # skin, fat and skull lie within the first 20 mm


class CycleGan:
    """The networks by name, the pools of old fakes, and the step that trains them."""

    learns_air = True  # or is air put outside the body, as `synthesize` does with every synthetic CT

    def __init__(self, recipe: CycleRecipe, mr: SliceSet, ct: SliceSet) -> None:
        self.recipe, self.slices = recipe, {"mr": mr, "ct": ct}
        self.generators = nn.ModuleDict({"to_ct": build_generator(recipe), "to_mr": build_generator(recipe)})
        base, layers, channels = recipe.discriminator_base, recipe.discriminator_layers, 1 + recipe.sees_depth
        judges = {name: PatchDiscriminator(base, layers, channels) for name in ("ct", "mr")}
        self.discriminators = nn.ModuleDict(judges)
        self.rates = {"generators": recipe.rate, "discriminators": recipe.discriminator_rate}
        self.pools = {"ct": ImagePool(recipe.pool), "mr": ImagePool(recipe.pool)}
        self.typical = {name: typical_body(slices) for name, slices in self.slices.items()}

    def step(self, draw: Callable[..., torch.Generator], done: float) -> dict[str, Tensor]:
        """The generators learn first, from discriminators that stand still; then these, from the fakes just made."""
        batch = self.batch(draw("batch"))
        self.discriminators.requires_grad_(False)
        terms, fakes = self.generator_losses(batch, done)
        descend(self.optimisers["generators"], sum(terms.values()))
        self.discriminators.requires_grad_(True)
        judged = self.discriminator_loss(batch, fakes)
        descend(self.optimisers["discriminators"], judged)
        return terms | {"discriminator": judged}

    def batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Images, depths, and what is typical in the *other* modality for a body of that shape."""
        chosen = unpaired_batch(self.slices["mr"], self.slices["ct"], self.recipe.batch, generator)
        batch = {}
        for name, other, index in (("mr", "ct", chosen[0]), ("ct", "mr", chosen[1])):
            taken = self.slices[name].take(index, self.device)
            depths = taken.depths
            typical = draw_typical(to_device(self.typical[other], self.device), taken.heights, depths)
            together = {name: taken.images, f"{name}_depth": depths, f"typical_{other}": typical}
            batch |= mirrored(together, generator, self.recipe.mirror)
        return batch

    def generator_losses(self, batch: dict[str, Tensor], done: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(weighted losses of the two generators by name, the fakes for the discriminators)."""
        recipe, mr, ct = self.recipe, batch["mr"], batch["ct"]
        to_ct, to_mr = lowered(self.generators["to_ct"]), lowered(self.generators["to_mr"])
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
                of_ct = loss(fake_ct, batch["mr_depth"], batch["typical_ct"])
                terms[name] = of_ct + loss(fake_mr, batch["ct_depth"], batch["typical_mr"])
        return {name: weight[name] * term for name, term in terms.items()}, fakes

    def discriminator_loss(self, batch: dict[str, Tensor], fakes: dict[str, Tensor]) -> Tensor:
        """Half the loss on real images and half on fakes, some of them old, summed over the two discriminators."""
        total = 0
        for name, pool in self.pools.items():
            real = self.shown(batch[name], batch[f"{name}_depth"])
            total = total + self.judge(name, real, real=True) + self.judge(name, pool.query(fakes[name]), real=False)
        return total / 2

    def shown(self, image: Tensor, depth: Tensor) -> Tensor:
        """What a discriminator sees, (N, 2, H, W): the image, and 1 outside the body falling to 0 deep inside.

        The second channel is handed over even to a discriminator that is not to see it: it tells where the body is.
        """
        return torch.cat([image, torch.exp(-depth / DEPTH_SEEN_MM)], 1)

    def judge(self, name: str, shown: Tensor, *, real: bool) -> Tensor:
        """GAN loss over the patches, each counted by how much body it holds: air looks the same, real or fake."""
        scores = lowered(self.discriminators[name])(shown if self.recipe.sees_depth else shown[:, :1])
        body = F.adaptive_avg_pool2d((shown[:, 1:] < 1).float(), scores.shape[-2:])
        return losses.least_squares_gan(scores, real, body)
