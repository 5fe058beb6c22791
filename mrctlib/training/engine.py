"""What every loop stands on: accelerate's one process or many, the learning rate over a training, one step down."""

from __future__ import annotations

import math

import torch
from accelerate import Accelerator
from torch import Tensor

from mrctlib.runtime import Tier


def accelerator_for(tier: Tier) -> Accelerator:
    """One process, several GPUs or several nodes, as `accelerate launch` says; bfloat16 where there is a GPU."""
    on_gpu = tier.device.type == "cuda"
    return Accelerator(mixed_precision="bf16" if on_gpu else "no", cpu=not on_gpu)


def descend(accelerator: Accelerator, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of an optimiser. With several processes, each with a batch of its own, on their mean gradient.

    The usual wrapper for that expects one forward pass a step, which a GAN does not keep to, so the gradients are
    averaged by hand.
    """
    optimiser.zero_grad()
    accelerator.backward(loss)
    if accelerator.num_processes > 1:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = accelerator.reduce(parameter.grad, reduction="mean")
    optimiser.step()


def warm_up_and_cosine(done: float, warm_up: float = 0.1) -> float:
    """The learning rate as a share of its peak, when `done` (0 to 1) of the training is over.

    It climbs for the first tenth, since the first gradients of a new network point anywhere, and then falls along a
    cosine to 0, so that the last steps settle (Loshchilov and Hutter 2017).
    """
    if done < warm_up:
        return (done + 0.01) / (warm_up + 0.01)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warm_up) / (1 - warm_up))))
