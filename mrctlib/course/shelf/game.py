"""The game that the GANs of the shelf play, and the discriminators for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mrctlib.course.models import Networks
from mrctlib.course.networks.conditional import ProjectionDiscriminator
from mrctlib.course.networks.gan import Discriminator
from mrctlib.losses import NON_SATURATING, GanLoss, r1_penalty
from mrctlib.training.gan import Penalty, play

GAME = {"batch": 16, "betas": (0.0, 0.99), "average": 0.998, "watch_every": 500}


def without_batch_norm(layers: nn.Sequential) -> nn.Sequential:
    """The same layers, with nothing that mixes the images of a batch: penalties look at one image at a time."""
    return nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.BatchNorm2d)))


def steady_discriminator(width: int, last: int = 4) -> nn.Sequential:
    """Grey images to scores; last: an eighth of their size."""
    return without_batch_norm(Discriminator(1, width, last))


def steady_projection(conditions: int, size: int, width: int) -> ProjectionDiscriminator:
    """Grey images and conditions to scores."""
    judge = ProjectionDiscriminator(conditions, size, width)
    judge.features = without_batch_norm(judge.features)
    return judge


def game(
    networks: Networks, folder: Path, seed: int, sizes: dict[str, int], images: Tensor,
    conditions: Tensor | None = None, *, phases: Sequence[tuple[int, float]], loss: GanLoss = NON_SATURATING,
    penalty: Penalty | None = r1_penalty, **asked: Any,
) -> dict[str, Any]:  # fmt: skip
    """Train generator and discriminator in place, and say with what: `recipe` and `seconds`.

    sizes: `latent`, the length of the noise, and `width`. phases: steps and rate of each, which goes on from the
    average of the one before. asked: what else `play` is asked for, beside GAME.
    """
    players, played, seconds = (networks["generator"], networks["discriminator"]), GAME | asked, 0.0
    for number, (steps, rate) in enumerate(phases):
        history = play(
            *players, images, conditions, noise=sizes["latent"], seed=seed + 1000 * number, name=folder.parent.name,
            folder=folder / str(number), loss=loss, penalty=penalty, steps=steps, rate=rate, **played,
        )  # fmt: skip
        seconds += history[-1]["seconds"]
    for player in players:
        player.cpu()
    said = {"steps": sum(steps for steps, _ in phases), "phases": phases, "loss": loss.name}
    said |= {"penalty": penalty.__name__ if penalty else "none"}
    return {"recipe": played | said | sizes, "seconds": seconds}
