"""The exercises of lecture 2: one step of a recurrent network, and of an LSTM; who looks at whom."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mrctlib.course.exercises.core import Exercise


def rnn_step(x: Tensor, h: Tensor, w: Tensor, u: Tensor, b: Tensor) -> Tensor:
    """The next state, tanh(W x + U h + b). Elman 1990.

    Args:
        x: (N, inputs), what is read now; h: (N, hidden), the last state.
        w: (hidden, inputs); u: (hidden, hidden); b: (hidden,).
    """
    return torch.tanh(x @ w.T + h @ u.T + b)


def _draw_rnn() -> tuple[Tensor, ...]:
    return torch.randn(4, 3), torch.randn(4, 5).tanh(), torch.randn(5, 3), torch.randn(5, 5), torch.randn(5)


Exercise(
    "sequences.rnn_step",
    reference=rnn_step,
    inputs=_draw_rnn,
    wrong=[
        (lambda x, h, w, u, b: x @ w.T + h @ u.T + b, "The tanh is missing: without it the state may grow without bound."),
        (lambda x, h, w, u, b: torch.tanh(x @ w.T + b), "The last state is missing: this network remembers nothing."),
        (lambda x, h, w, u, b: torch.tanh(x @ w.T + h @ u.T), "The bias is missing."),
        (lambda x, h, w, u, b: torch.tanh(x @ w.T + h @ u + b), "U is turned: for states in rows, it is `h @ u.T`."),
        (lambda x, h, w, u, b: torch.tanh(x @ w.T + b) + h @ u.T, "The tanh goes around all three terms."),
        (lambda x, h, w, u, b: torch.tanh(x @ w.T + h + b), "The last state is added as it is: it has weights of its own, U."),
        (lambda x, h, w, u, b: torch.sigmoid(x @ w.T + h @ u.T + b), "This is a sigmoid: the state may be negative, so take tanh."),
        (lambda x, h, w, u, b: h + torch.tanh(x @ w.T + h @ u.T + b), "The last state is added once more: that would be a shortcut, as in a ResNet. A plain RNN has none."),
        (lambda x, h, w, u, b: torch.tanh(x @ w + h @ u + b), "W and U are turned: for inputs in rows, it is `x @ w.T`."),
        (lambda x, h, w, u, b: torch.tanh(w @ x + u @ h + b), "Each recording is a *row* of x and h, not a column: W x becomes `x @ w.T`."),
    ],
)  # fmt: skip


def lstm_step(c: Tensor, forget: Tensor, write: Tensor, new: Tensor, show: Tensor) -> tuple[Tensor, Tensor]:
    """(next state h, next cell c) from the last cell and the gates, all (N, hidden). Hochreiter and Schmidhuber 1997.

    forget, write, show: gates in (0, 1); new: what could be written, in (-1, 1).
    """
    c = forget * c + write * new
    return show * torch.tanh(c), c


def _draw_lstm() -> tuple[Tensor, ...]:
    forget, write, show = torch.rand(3, 4, 5)
    return 2 * torch.randn(4, 5), forget, write, torch.randn(4, 5).tanh(), show


def _cell_of(change):
    """The step with another rule for the cell."""

    def step(c: Tensor, forget: Tensor, write: Tensor, new: Tensor, show: Tensor) -> tuple[Tensor, Tensor]:
        c = change(c, forget, write, new)
        return show * torch.tanh(c), c

    return step


Exercise(
    "sequences.lstm_step",
    reference=lstm_step,
    inputs=_draw_lstm,
    wrong=[
        (lambda *gates: lstm_step(*gates)[::-1], "The two have changed places: the state h first, then the cell c."),
        (_cell_of(lambda c, f, i, g: (1 - f) * c + i * g), "The forget gate is meant the other way round: where it is 1, the cell is *kept*."),
        (_cell_of(lambda c, f, i, g: f * c + (1 - f) * g), "What is written has a gate of its own, `write`. (One gate for both is the GRU's idea.)"),
        (_cell_of(lambda c, f, i, g: f * c + g), "The `write` gate is missing: it says how much of what is new goes in."),
        (_cell_of(lambda c, f, i, g: c + i * g), "The forget gate is missing: this cell keeps everything."),
        (_cell_of(lambda c, f, i, g: (f * c + i * g).tanh()), "The cell itself is not squeezed: that is why it remembers. Only what is shown of it goes through tanh."),
        (_cell_of(lambda c, f, i, g: f * c * i * g), "The cell is a *sum* of what is kept and what is written."),
        (lambda c, f, i, g, o: (o * (f * c + i * g), f * c + i * g), "What is shown goes through tanh: h = show * tanh(c)."),
        (lambda c, f, i, g, o: (torch.tanh(f * c + i * g), f * c + i * g), "The `show` gate is missing."),
        (lambda c, f, i, g, o: lstm_step(c, f.sigmoid(), i.sigmoid(), g.tanh(), o.sigmoid()), "The gates are ready to use: they have been through sigmoid and tanh already."),
        (lambda c, f, i, g, o: (o * torch.tanh(c), f * c + i * g), "The state shows the *last* cell: use the new one."),
        (lambda *gates: lstm_step(*gates)[0], "Return both, the state and the cell: the next step needs the cell."),
    ],
)  # fmt: skip


def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """How much each step looks at each other, (N, T, T): rows add up to 1, and no step looks ahead. Vaswani et al. 2017.

    Scaled dot products, equation 1 of the paper, with the mask of its decoder.

    Args:
        query: (N, T, D), what each step asks; key: (N, T, D), what each step offers.
    """
    scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[2])
    ahead = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(ahead, -math.inf).softmax(2)


def _look(scale: bool = True, over: int = 2, mask: float | None = -math.inf) -> Callable:
    """The same with a wrong turn: no scale, another dimension, another value where a step would look ahead."""

    def method(query: Tensor, key: Tensor) -> Tensor:
        scores = query @ key.transpose(1, 2) / (math.sqrt(query.shape[2]) if scale else 1)
        ahead = torch.ones_like(scores[0], dtype=torch.bool).triu(1)
        return (scores if mask is None else scores.masked_fill(ahead, mask)).softmax(over)

    return method


Exercise(
    "sequences.attention_weights",
    reference=attention_weights,
    inputs=lambda: (torch.randn(2, 5, 4), torch.randn(2, 5, 4)),
    wrong=[
        (_look(scale=False), "Divide by the root of D: else the scores of long vectors are large, and the softmax looks at one step alone."),
        (lambda q, k: _look(scale=False)(q / q.shape[2], k), "Divide by the *root* of D, not by D."),
        (_look(mask=None), "A step looks ahead: mask what lies after it, before the softmax."),
        (_look(mask=0.0), "A score of 0 is still e^0 = 1 to the softmax: mask with minus infinity."),
        (lambda q, k: _look(mask=None)(q, k).tril(), "Masked after the softmax: the rows no longer add up to 1. Mask the scores, before it."),
        (_look(over=1), "The softmax runs over the queries: each *row* (one query, all keys) must add up to 1."),
        (lambda q, k: _look()(k, q), "Queries and keys are exchanged: row t holds what step t asks of all others."),
        (lambda q, k: _look(mask=None)(q, k).triu() / _look(mask=None)(q, k).triu().sum(2, keepdim=True), "The mask is turned: each step may look at itself and *back*, not ahead."),
        (lambda q, k: (q @ k.mT / math.sqrt(q.shape[2])).tril(), "These are the scores: the softmax is missing."),
    ],
)  # fmt: skip
