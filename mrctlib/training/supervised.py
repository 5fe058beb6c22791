"""Learning from answers: classes, numbers, labels of voxels."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.runtime import InputError, Tier, lowered, resident, rows, tier
from mrctlib.training.checkpoints import keep
from mrctlib.training.descent import descend
from mrctlib.training.loop import Step, Training

Loss = Callable[[Tensor, Tensor], Tensor]
Augment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def supervised_step(
    network: nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, loss: Loss, *,
    batch: int, augment: Augment | None = None,
) -> Step:  # fmt: skip
    """A step for the loop: a batch, what the network says of it, how wrong that is, and one step down the slope."""
    device = next(network.parameters()).device
    answer, inputs, targets = lowered(network), resident(inputs, device), resident(targets, device)

    def step(draw: Callable[..., torch.Generator], done: float) -> dict[str, Tensor]:
        chosen = torch.randperm(len(inputs), generator=draw("batch"))[:batch]
        x, y = rows(inputs, chosen, device), rows(targets, chosen, device)
        if augment:
            x, y = augment(x, y)
        value = loss(answer(x), y)
        descend(optimiser, value)
        return {"loss": value}

    return step


def warm_up_and_cosine(done: float, warm_up: float = 0.1) -> float:
    """The learning rate as a share of its peak, when `done` (0 to 1) of the training is over.

    It climbs for the first tenth, since the first gradients of a new network point anywhere, and then falls along a
    cosine to 0, so that the last steps settle (Loshchilov and Hutter 2017).
    """
    if done < warm_up:
        return (done + 0.01) / (warm_up + 0.01)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warm_up) / (1 - warm_up))))


def fit(
    network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss = F.cross_entropy, *, steps: int, batch: int = 64,
    rate: float = 3e-3, weight_decay: float = 0.0, augment: Augment | None = None,
    watch: Callable[[nn.Module], dict[str, float]] | None = None, watch_every: int = 50, seed: int = 0,
    name: str | None = None, here: Tier | None = None, folder: str | Path | None = None,
) -> list[dict[str, float]]:  # fmt: skip
    """Train `network` in place with AdamW (Loshchilov and Hutter 2019), and return its history.

    Every row has `step`, `seconds` (of training alone) and `loss` (the mean since the last row), and what `watch` says
    of the network in evaluation mode. Seed the weights yourself, before you build the network. At the end the network
    is in evaluation mode.

    Args:
        inputs, targets: (N, ...), one row for each example.
        loss: from (what the network says of a batch, the targets of the batch) to a scalar.
        augment: from a batch of (inputs, targets) to another.
        name: of this training, see `checkpoints.keep`.
        here: the tier; by default that of this machine.
        folder: where a checkpoint is kept, one for each row of the history; None: see `checkpoints.keep`.

    Raises:
        InputError: lengths that differ, a loss that is not finite, or a checkpoint of another network or training.
    """
    if len(inputs) != len(targets) or not len(inputs):
        raise InputError(f"{len(inputs)} inputs and {len(targets)} targets: fit needs one target for each input")
    recipe = {"steps": steps, "batch": batch, "rate": rate, "weight_decay": weight_decay, "seed": seed}
    recipe |= {"loss": loss, "augment": augment}
    kept = {"name": name, "folder": folder, "watched": watch is not None}
    belongs_to, path = keep(recipe, [network], [inputs, targets], **kept)
    # Channels last is faster for convolutions in a plane; torch has no such order for 3-D kernels under this name.
    flat = all(parameter.dim() < 5 for parameter in network.parameters())
    device = (here or tier()).device
    network.to(device, memory_format=torch.channels_last if flat else torch.contiguous_format)
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=weight_decay, fused=device.type == "cuda")
    step = supervised_step(network.train(), optimiser, inputs, targets, loss, batch=batch, augment=augment)
    training = Training(
        step, {"network": network}, {"network": optimiser}, steps=steps, schedule=warm_up_and_cosine,
        watch=(lambda: watch(network)) if watch else None, watch_every=watch_every, seed=seed,
        name=name or "training", checkpoint=path, belongs_to=belongs_to,
    )  # fmt: skip
    training.run()
    network.eval()
    return training.history


@torch.no_grad()
def predict(network: nn.Module, inputs: Tensor, batch: int = 256) -> Tensor:
    """What the network says of every input, (N, ...), in evaluation mode, on the CPU."""
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    outputs = torch.cat([network(part.to(device)).float().cpu() for part in inputs.split(batch)])
    network.train(training)
    return outputs


def accuracy(network: nn.Module, inputs: Tensor, classes: Tensor, batch: int = 256) -> float:
    """Share of the inputs, 0 to 1, whose highest score is that of their class."""
    return float((predict(network, inputs, batch).argmax(1) == classes).float().mean())
