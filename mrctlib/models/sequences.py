"""Networks that read a sequence: recurrent, with long short-term memory, and with dilated causal convolutions.

The cells are written out to be read; what is trained uses torch's own `nn.RNN` and `nn.LSTM`, which compute the same
(a test says so) and are quicker.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrctlib.runtime import InputError


class RnnCell(nn.Module):
    """One step of a plain recurrent network (Elman 1990): h' = tanh(W x + U h + b), with one W, U and b for all."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.w = nn.Linear(inputs, hidden)  # W x + b
        self.u = nn.Linear(hidden, hidden, bias=False)  # U h

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """(N, inputs) and the last state (N, hidden) to the next state (N, hidden)."""
        return torch.tanh(self.w(x) + self.u(h))


class LstmCell(nn.Module):
    """One step of a long short-term memory (Hochreiter and Schmidhuber 1997).

    The forget gate is from Gers et al. 2000; its bias starts at 1, so that a new cell keeps more than it forgets.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.w = nn.Linear(inputs, 4 * hidden)  # for all four at once: input, forget, new, output
        self.u = nn.Linear(hidden, 4 * hidden, bias=False)
        with torch.no_grad():
            self.w.bias.chunk(4)[1].fill_(1.0)

    def gates(self, x: Tensor, h: Tensor) -> dict[str, Tensor]:
        """How much to write, to keep and to show, each in (0, 1), and what to write, in (-1, 1); (N, hidden) each."""
        write, keep, new, show = (self.w(x) + self.u(h)).chunk(4, dim=-1)
        return {
            "input": torch.sigmoid(write),
            "forget": torch.sigmoid(keep),
            "new": torch.tanh(new),
            "output": torch.sigmoid(show),
        }

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """(N, inputs) and the last (h, c), (N, hidden) each, to the next (h, c)."""
        h, c = state
        gate = self.gates(x, h)
        c = gate["forget"] * c + gate["input"] * gate["new"]  # a sum, not a product: this is what remembers
        h = gate["output"] * torch.tanh(c)
        return h, c


def taught_cell(reader: nn.RNN | nn.LSTM) -> RnnCell | LstmCell:
    """The readable cell with the weights of a one-layer `nn.RNN` or `nn.LSTM`."""
    cell = (LstmCell if isinstance(reader, nn.LSTM) else RnnCell)(reader.input_size, reader.hidden_size)
    with torch.no_grad():
        cell.w.weight.copy_(reader.weight_ih_l0)
        cell.w.bias.copy_(reader.bias_ih_l0 + reader.bias_hh_l0)  # two biases act as one
        cell.u.weight.copy_(reader.weight_hh_l0)
    return cell


class CausalConvolution(nn.Conv1d):
    """(N, channels, T) to (N, outputs, T), where the output at t depends on nothing after t.

    Zeros go in front only, as many as the kernel reaches back (van den Oord et al. 2016, WaveNet).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 2, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, dilation=dilation)
        self.reach = (kernel - 1) * dilation

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.reach, 0)))


class DilatedReader(nn.Module):
    """(N, T, inputs) to (N, T, hidden): causal convolutions with dilations 1, 2, 4, ..., each added to what it read.

    After Bai et al. 2018 (TCN), with one convolution in a block where they have two, and no dropout.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, kernel: int = 2) -> None:
        super().__init__()
        self.first = CausalConvolution(inputs, hidden, kernel=1)
        self.blocks = nn.ModuleList(CausalConvolution(hidden, hidden, kernel, 2**i) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.transpose(1, 2))  # convolutions want channels before time
        for block in self.blocks:
            x = x + F.relu(block(x))
        return x.transpose(1, 2)


def dilated_reach(layers: int, kernel: int = 2) -> int:
    """Steps that one output of `layers` dilated layers sees, itself included: 1 + (kernel - 1)(1 + 2 + 4 + ...)."""
    return 1 + (kernel - 1) * (2**layers - 1)


def layers_to_reach(steps: int, kernel: int = 2) -> int:
    """The fewest dilated layers that see at least `steps` steps."""
    layers = 0
    while dilated_reach(layers, kernel) < steps:
        layers += 1
    return layers


def open_forget_gates(reader: nn.LSTM, memory: int | None = None) -> None:
    """Set the biases of an LSTM's input and forget gates before training; see `SequenceClassifier`.

    A forget gate with bias log(s) keeps s / (s + 1) of its cell at each step, and so about 1/e of it over s steps.
    """
    write, keep, *_ = reader.bias_ih_l0.chunk(4)
    with torch.no_grad():
        reader.bias_hh_l0.chunk(4)[0].zero_()  # torch keeps two biases, whose sum acts
        reader.bias_hh_l0.chunk(4)[1].zero_()
        keep.fill_(1.0) if memory is None else keep.uniform_(1, memory - 1).log_()
        if memory is not None:
            write.copy_(-keep)


KINDS = ("rnn", "lstm", "dilated")


class SequenceClassifier(nn.Module):
    """(N, T, inputs) to (N, classes), answered from the last state alone, once the whole sequence has been read.

    Args:
        kind: `rnn`, `lstm` or `dilated`.
        layers: of a dilated network; they must overlook the sequence (`layers_to_reach`).
        memory: of an LSTM, the steps that it should be able to remember from the start: its forget gates are opened and
            its input gates closed so that its units keep for 1 to `memory` steps (Tallec and Ollivier 2018). Without
            it, every forget bias starts at 1.

    Raises:
        InputError: another kind.
    """

    def __init__(
        self, kind: str, inputs: int, hidden: int, classes: int, *, layers: int = 7, memory: int | None = None
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise InputError(f"there is no sequence classifier {kind!r}: choose one of {', '.join(KINDS)}")
        if kind == "dilated":
            self.reader = DilatedReader(inputs, hidden, layers)
        else:
            self.reader = (nn.RNN if kind == "rnn" else nn.LSTM)(inputs, hidden, batch_first=True)
        if kind == "lstm":
            open_forget_gates(self.reader, memory)
        self.answer = nn.Linear(hidden, classes)

    def states(self, x: Tensor) -> Tensor:
        """(N, T, hidden): what the network holds after each step."""
        states = self.reader(x)
        return states[0] if isinstance(states, tuple) else states

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.states(x)[:, -1])
