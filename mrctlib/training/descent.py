"""One step down a slope, in one process or in many, and an average that follows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, distributed, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from mrctlib.runtime import precision, processes

PLAIN = GradScaler(enabled=False)


def scale_together(optimisers: Iterable[Optimizer], device: torch.device) -> GradScaler:
    """One scaler for all optimisers of a training: in float16 small gradients would be 0, so losses are scaled up.

    A step whose gradients overflow is left out, and the scale halved. In the other precisions it does nothing.
    """
    scaler = GradScaler(device.type, enabled=precision(device) == torch.float16)
    for optimiser in optimisers:
        optimiser.scaler = scaler
    return scaler


def descend(optimiser: Optimizer, loss: Tensor) -> None:
    """One step of an optimiser. With several processes, each with a batch of its own, on their mean gradient.

    The usual wrapper for that expects one forward pass a step, which a GAN does not keep to, so the gradients are
    averaged here, all in one message.
    """
    scaler = getattr(optimiser, "scaler", PLAIN)
    optimiser.zero_grad()
    scaler.scale(loss).backward()
    if (count := processes()[1]) > 1:
        slopes = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        together = torch.cat([slope.flatten() for slope in slopes])
        distributed.all_reduce(together)
        for slope, mean in zip(slopes, (together / count).split([s.numel() for s in slopes]), strict=True):
            slope.copy_(mean.view_as(slope))
    scaler.step(optimiser)
    scaler.update()


class Average:
    """An exponential moving average (EMA) of a network's weights, at first the weights themselves.

    decay: from the number of the step, from 1, to the share that is kept of the average at that step. `AveragedModel`
    of torch does the same, but moves its count to the device in every step, and so waits for a GPU.
    """

    def __init__(self, network: nn.Module, decay: Callable[[int], float]) -> None:
        self.module, self.decay = copy.deepcopy(network).requires_grad_(False), decay

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        torch._foreach_lerp_(list(self.module.parameters()), list(network.parameters()), 1 - self.decay(step))
        for mine, its in zip(self.module.buffers(), network.buffers(), strict=True):
            mine.copy_(its)
