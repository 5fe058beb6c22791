"""The loop for everything with an answer to learn from: classes, numbers, labels of voxels."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.runtime import InputError, Tier, derive_seed, progress, seed_everything, tier
from mrctlib.training.checkpoints import (
    checkpoint_path,
    draws,
    load_optimiser,
    optimiser_tensors,
    read_checkpoint,
    under,
    write_checkpoint,
)
from mrctlib.training.engine import accelerator_for, descend, warm_up_and_cosine

Loss = Callable[[Tensor, Tensor], Tensor]
Augment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def fit(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Loss = F.cross_entropy,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    batch: int = 64,
    rate: float = 3e-3,
    weight_decay: float = 0.0,
    augment: Augment | None = None,
    watch: Callable[[nn.Module], dict[str, float]] | None = None,
    watch_every: int = 50,
    seed: int = 0,
    label: str = "training",
    here: Tier | None = None,
    folder: str | Path | None = None,
) -> list[dict[str, float]]:
    """Train `network` in place with AdamW (Loshchilov and Hutter 2019), and return its history.

    Every row has `step`, `seconds` (of training alone) and `loss` (the mean since the last row), and what `watch` says
    of the network in evaluation mode. Batches, augmentation and dropout are drawn from (seed, step), so a training that
    was killed goes on from its checkpoint to the same weights. Seed the weights yourself, before you build the network.
    At the end the network is in evaluation mode.

    Args:
        inputs, targets: (N, ...), one row for each example.
        loss: from (what the network says of a batch, the targets of the batch) to a scalar.
        steps, seconds: how long; one of the two. With `seconds` the number of steps depends on the machine.
        augment: from a batch of (inputs, targets) to another.
        here: the tier; by default that of this machine.
        folder: where a checkpoint is kept, one for each row of the history; None: see `checkpoint_path`.

    Raises:
        InputError: neither or both of `steps` and `seconds`, lengths that differ, a loss that is not finite, or a
            checkpoint of another network or training.
    """
    if (steps is None) == (seconds is None):
        raise InputError("give fit either steps or seconds: how long to train")
    if len(inputs) != len(targets) or not len(inputs):
        raise InputError(f"{len(inputs)} inputs and {len(targets)} targets: fit needs one target for each input")
    accelerator = accelerator_for(here or tier())
    device = accelerator.device
    # Channels last is faster for convolutions in a plane; torch has no such order for 3-D kernels under this name.
    flat = all(parameter.dim() < 5 for parameter in network.parameters())
    network.to(device, memory_format=torch.channels_last if flat else torch.contiguous_format)
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=weight_decay)
    plan = {"steps": steps, "batch": batch, "rate": rate, "weight_decay": weight_decay, "seed": seed}
    path = checkpoint_path(folder, watch, plan, seconds, watch_every, network, inputs, targets, loss, augment)
    history = _resume(path, plan, network, optimiser) if path and path.exists() else []
    step, spent = (int(history[-1]["step"]), history[-1]["seconds"]) if history else (0, 0.0)

    def done() -> float:
        return step / steps if steps else spent / seconds

    bar = progress(None, label, total=steps or seconds, initial=step if steps else spent, leave=False)
    total = torch.zeros((), device=device)
    since = 0
    network.train()
    while done() < 1:
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(derive_seed(seed, step, accelerator.process_index, "batch"))
        chosen = torch.randperm(len(inputs), generator=generator)[:batch]
        seed_everything(seed, step, accelerator.process_index, "step")
        x, y = inputs[chosen].to(device), targets[chosen].to(device)
        if augment:
            x, y = augment(x, y)
        for group in optimiser.param_groups:
            group["lr"] = rate * warm_up_and_cosine(done())
        with accelerator.autocast():
            value = loss(network(x), y)
        descend(accelerator, optimiser, value)
        total += value.detach()
        step, since = step + 1, since + 1
        now = time.perf_counter()
        bar.update(1 if steps else now - started)
        spent += now - started
        if step % watch_every == 0 or done() >= 1:
            mean = float(total) / since
            if mean != mean or mean in (float("inf"), -float("inf")):
                raise InputError(f"the loss is {mean} at step {step}: take a smaller rate than {rate:g}")
            row = {"step": step, "seconds": spent, "loss": mean} | (_look(network, watch) if watch else {})
            history.append(row)
            total.zero_()
            since = 0
            if path and accelerator.is_main_process:
                tensors = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
                tensors |= {f"optimiser/{name}": tensor for name, tensor in optimiser_tensors(optimiser).items()}
                write_checkpoint(path, tensors | draws(), {"plan": plan, "history": history})
    bar.close()
    network.eval()
    return history


@torch.no_grad()
def _look(network: nn.Module, watch: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
    network.eval()
    seen = watch(network)
    network.train()
    return seen


def _resume(path: Path, plan: dict, network: nn.Module, optimiser: torch.optim.Optimizer) -> list[dict[str, float]]:
    """Put network and optimiser back to where the checkpoint left them; returns the history until then."""
    tensors, about = read_checkpoint(path)
    if about.get("plan") != plan:
        raise InputError(f"{path}: is from another training ({about.get('plan')}); name another folder")
    try:
        network.load_state_dict(under(tensors, "network"))
    except RuntimeError as error:
        raise InputError(f"{path}: its weights are those of another network; name another folder") from error
    load_optimiser(optimiser, under(tensors, "optimiser"))
    torch.set_rng_state(tensors["draws"])
    return about["history"]


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
