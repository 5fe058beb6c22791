"""The one training loop: steps, rates, averages, looks, checkpoints. What a step does is a function that it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mrctlib.runtime import InputError, at_most, derive_seed, processes, progress, say_how_long, seed_everything
from mrctlib.training.checkpoints import pack, read_checkpoint, unpack, write_checkpoint
from mrctlib.training.descent import Average, scale_together

Step = Callable[[Callable[..., torch.Generator], float], Mapping[str, Tensor]]


class Training:
    """A training that can be watched, interrupted, and taken up again where it was.

    All that a step draws at random comes from (seed, number of the step, process), so a training that was killed and
    goes on from its checkpoint ends with the same weights, to the last bit on a CPU, as one that never stopped.

    Args:
        step: one step of learning, from (`draw`, the share 0 to 1 of the training that is over) to its losses by name,
            scalars. It moves the optimisers itself. `draw("batch")` is a random generator of that name for this step;
            the global ones are seeded as well.
        networks, optimisers, pools: by name, all that a checkpoint keeps; pools: objects with a list `images`.
        schedule: from the share that is over to the share of each optimiser's own rate.
        averages: by the name of the network that each follows after every step; their modules are networks as well.
        watch: adds to each row of the history; it is called with all networks in evaluation mode.
        checkpoint: its file, written at each row; None keeps everything in memory.
        belongs_to: what the checkpoint is of (recipe, data; JSON): it is never gone on with for another; notes: what it
            keeps besides.
        stream: names the random numbers.

    Raises:
        InputError: the checkpoint is of another training, or has taken more steps than are asked for.
    """

    def __init__(
        self, step: Step, networks: Mapping[str, nn.Module], optimisers: Mapping[str, torch.optim.Optimizer], *,
        steps: int, schedule: Callable[[float], float] = lambda done: 1.0,
        averages: Mapping[str, Average] | None = None, pools: Mapping[str, Any] | None = None,
        watch: Callable[[], dict[str, float]] | None = None, watch_every: int = 50, seed: int = 0, stream: str = "step",
        name: str = "training", checkpoint: Path | None = None, belongs_to: Mapping | None = None,
        notes: Mapping | None = None,
    ) -> None:  # fmt: skip
        self.take_step, self.networks, self.optimisers = step, dict(networks), dict(optimisers)
        self.steps, self.schedule, self.averages, self.pools = at_most(steps), schedule, averages or {}, pools or {}
        self.watch, self.watch_every, self.seed, self.stream, self.name = watch, watch_every, seed, stream, name
        self.checkpoint, self.notes = checkpoint, dict(notes or {})
        self.belongs_to = json.loads(json.dumps(belongs_to or {}))  # as it will be read again
        self.rates = {key: [group["lr"] for group in o.param_groups] for key, o in self.optimisers.items()}
        self.device = next(next(iter(self.networks.values())).parameters()).device
        self.scaler = scale_together(self.optimisers.values(), self.device)
        self.step, self.seconds, self.history = 0, 0.0, []  # seconds: of training alone
        if checkpoint and checkpoint.exists():
            self._load(checkpoint)

    def run(self, on_watch: Callable[[Training], None] | None = None) -> Training:
        """Train to the end from wherever the checkpoint was; `on_watch` is called after each new row of the history."""
        main = processes()[0] == 0
        over = {"initial": self.step, "total": self.steps, "unit": "step", "leave": False, "disable": not main}
        bar = progress(range(self.step, self.steps), self.name, **over)
        sums: dict[str, Tensor] = {}
        first, since, started = self.step, self.step, self.clock()
        try:
            for _ in bar:
                for key, value in self.one_step().items():
                    sums[key] = sums.get(key, 0) + value.detach().float()
                if self.step == first + 10:  # the very first are slower
                    tenth = self.clock()
                if self.step == first + 20 and main:
                    say_how_long(self.name, (self.steps - self.step) * (self.clock() - tenth) / 10)
                if self.step % self.watch_every == 0 or self.step == self.steps:
                    self.seconds += self.clock() - started
                    means = {key: float(value) / (self.step - since) for key, value in sums.items()}
                    self._stop_if_not_finite(means)
                    self.history.append({"step": self.step, "seconds": self.seconds} | means | self._look())
                    if main:
                        self.save()
                    if on_watch:
                        on_watch(self)
                    sums, since, started = {}, self.step, self.clock()
        except KeyboardInterrupt:
            kept = self.history[-1]["step"] if self.history and self.checkpoint else 0
            said = f"stopped at step {self.step} of {self.steps}; run this again to go on from step {kept}"
            raise KeyboardInterrupt(said) from None
        return self

    def one_step(self) -> Mapping[str, Tensor]:
        """The losses of one step, still on the device."""
        process = processes()[0]
        for key, optimiser in self.optimisers.items():
            for group, rate in zip(optimiser.param_groups, self.rates[key], strict=True):
                group["lr"] = rate * self.schedule(self.step / self.steps)
        seed_everything(self.seed, self.step, process, self.stream)

        def draw(*names: object) -> torch.Generator:
            return torch.Generator().manual_seed(derive_seed(self.seed, self.step, process, *names))

        losses = self.take_step(draw, self.step / self.steps)
        self.step += 1
        for key, average in self.averages.items():
            average.follow(self.networks[key], self.step)
        return losses

    def clock(self) -> float:
        """The time when the device has done what it was asked for: a clock read before that measures nothing."""
        getattr(torch, self.device.type).synchronize()
        return time.perf_counter()

    def _stop_if_not_finite(self, means: Mapping[str, float]) -> None:
        bad = [f"{key} is {value}" for key, value in means.items() if not abs(value) < float("inf")]
        bad += [f"a weight of {key} is not finite" for key, network in self.networks.items()
                if not all(parameter.isfinite().all() for parameter in network.parameters())]  # fmt: skip
        if bad:
            kept = f"the checkpoint of step {self.history[-1]['step']} is kept" if self.history else "nothing was saved"
            raise InputError(f"{self.name}: {bad[0]} at step {self.step} ({kept}): take a smaller rate")

    @torch.no_grad()
    def _look(self) -> dict[str, float]:
        every = nn.ModuleList(self.networks.values()).eval()
        seen = self.watch() if self.watch else {}
        every.train(self.step < self.steps)
        return seen

    def save(self) -> None:
        """Write the checkpoint, whole or not at all; nothing without a file for it."""
        if self.checkpoint:
            about = {key: getattr(self, key) for key in ("belongs_to", "notes", "step", "seconds", "history")}
            about["scale"] = self.scaler.state_dict()
            write_checkpoint(self.checkpoint, pack(self.networks, self.optimisers, self.pools), about)

    def _load(self, path: Path) -> None:
        tensors, about = read_checkpoint(path)
        if other := [key for key, value in self.belongs_to.items() if about["belongs_to"].get(key) != value]:
            raise InputError(f"{path}: is of another training (other {', '.join(other)}); name another folder")
        if about["step"] > self.steps:
            raise InputError(f"{path}: has taken {about['step']} steps, more than {self.steps}; name another folder")
        try:
            unpack(tensors, self.networks, self.optimisers, self.pools)
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"{path}: its weights are those of other networks; name another folder") from error
        self.step, self.seconds, self.history = about["step"], about["seconds"], about["history"]
        self.scaler.load_state_dict(about["scale"] or self.scaler.state_dict())
