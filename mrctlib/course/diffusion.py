"""Images from noise in many small steps: on the way from image to noise, the way back is learned.

At time t, 0 to 1, an image is cos(a) image + sin(a) noise, a = t pi / 2: an angle that turns it into noise. The network
predicts v = cos(a) noise - sin(a) image, which way the mixture turns; image and noise follow from both. Ho et al. 2020
(the idea), Nichol and Dhariwal 2021 (this schedule), Salimans and Ho 2022 (v), Song et al. 2021 (large steps, DDIM).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from mrctlib.runtime import lowered, resident, rows, tier
from mrctlib.training.checkpoints import keep
from mrctlib.training.descent import Average, descend
from mrctlib.training.loop import Step, Training

Predict = Callable[[Tensor, Tensor], Tensor]


def angle(t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of the angle at times t (N,), to be multiplied with images."""
    a = (t * math.pi / 2).view(-1, *[1] * (like.dim() - 1))
    return a.cos(), a.sin()


def denoising_step(
    network: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, told: Tensor | None, *, batch: int,
    forget: float = 0.0, none: int = 0,
) -> Step:  # fmt: skip
    """A step for the loop: images, noise, a time for each; predict v.

    forget: share of the images for which what is told becomes `none`.
    """
    device = next(network.parameters()).device
    answer, images = lowered(network), resident(images, device)
    told = None if told is None else resident(told, device)

    def step(draw: Callable[..., torch.Generator], done: float) -> dict[str, Tensor]:
        random = draw("batch")
        chosen = torch.randint(len(images), (batch,), generator=random)
        x = rows(images, chosen, device)
        noise = torch.randn(x.shape, generator=random).to(device)
        t = torch.rand(batch, generator=random).to(device)
        knows = [] if told is None else [rows(told, chosen, device)]
        if forget:
            knows = [torch.where(torch.rand(batch, generator=random).to(device) < forget, none, knows[0])]
        cos, sin = angle(t, x)
        value = (answer(cos * x + sin * noise, t, *knows) - (cos * noise - sin * x)).square().mean()
        descend(optimiser, value)
        return {"loss": value}

    return step


def learn_to_denoise(
    network: nn.Module, images: Tensor, told: Tensor | None = None, *, steps: int, batch: int, rate: float,
    average: float, seed: int, name: str, folder: str | Path | None = None, watch_every: int = 200, **asked: float,
) -> list[dict[str, float]]:  # fmt: skip
    """Train a denoiser in place; at the end it has its averaged weights. Returns the history of the loss.

    images: (M, 1, H, W), about -1 to 1; told: one for each; asked: what else `denoising_step` is asked for.

    Raises:
        InputError: a loss that is not finite, or a checkpoint of another training.
    """
    recipe = {"steps": steps, "batch": batch, "rate": rate, "average": average, "seed": seed} | asked
    given = [images] if told is None else [images, told]
    belongs_to, path = keep(recipe, [network], given, name=name, folder=folder, watched=False)
    network.to(tier().device).train()
    optimiser = torch.optim.Adam(network.parameters(), rate, (0.9, 0.99))
    # A short memory at first, or it would remember the start.
    follows = Average(network, lambda step: min(average, step / (step + 10)))
    training = Training(
        denoising_step(network, optimiser, images, told, batch=batch, **asked),
        {"network": network, "averaged": follows.module}, {"network": optimiser}, steps=steps,
        schedule=lambda done: min(1.0, 2 * (1 - done)), averages={"network": follows}, watch_every=watch_every,
        seed=seed, stream="denoise", name=name, checkpoint=path, belongs_to=belongs_to,
    ).run()  # fmt: skip
    network.load_state_dict(follows.module.state_dict())
    network.cpu().eval()
    return training.history


@torch.no_grad()
def sample(predict: Predict, noise: Tensor, steps: int) -> list[Tensor]:
    """From noise (N, 1, H, W) to images, in steps of equal angle: what the image is thought to be after each step.

    predict: (mixtures, times) to v. Each step turns the mixture back by one angle (Song et al. 2021).
    """
    x, seen = noise, []
    times = torch.linspace(1, 0, steps + 1)
    for now, after in zip(times[:-1], times[1:], strict=True):
        (cos, sin), (next_cos, next_sin) = (angle(time.expand(len(x)), x) for time in (now, after))
        v = predict(x, now.expand(len(x)))
        image = (cos * x - sin * v).clamp(-1, 1)
        rest = (x - cos * image) / sin  # the noise that belongs to the image as it was cut off
        x = next_cos * image + next_sin * rest
        seen.append(image)
    return seen


def guided(network: nn.Module, told: Tensor, none: int, weight: float) -> Predict:
    """v as told, and more so: away from v without being told. Ho and Salimans 2022; weight 1: just as told."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        if weight == 1:
            return network(x, t, told)
        both = network(torch.cat([x, x]), torch.cat([t, t]), torch.cat([told, torch.full_like(told, none)]))
        with_it, without = both.chunk(2)
        return without + weight * (with_it - without)

    return predict
