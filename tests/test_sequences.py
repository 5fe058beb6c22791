"""Readers of sequences: the cells written out agree with torch's, and nobody sees the future."""

import pytest
import torch
from notebook_code import defined_in
from torch import nn

from mrctlib.runtime import seed_everything

NOTEBOOK = "lectures/02_sequences.ipynb"
CausalConvolution, DilatedReader, dilated_reach, layers_to_reach = defined_in(
    NOTEBOOK, "CausalConvolution", "DilatedReader", "dilated_reach", "layers_to_reach"
)
_, _, LstmCell, RnnCell, SequenceClassifier, lstm_reader, taught = defined_in(
    NOTEBOOK, "rnn_step", "lstm_step", "LstmCell", "RnnCell", "SequenceClassifier", "lstm_reader", "taught"
)
READERS = {
    "rnn": lambda: nn.RNN(3, 5, batch_first=True),
    "lstm": lambda: lstm_reader(3, 5),
    "dilated": lambda: DilatedReader(3, 5, layers=3),
}


@pytest.fixture(autouse=True)
def seeded():
    seed_everything("sequences")


def copied(taught: nn.Module, cell: nn.RNNCell | nn.LSTMCell) -> None:
    """Give torch's cell the weights of ours: its second bias is then 0."""
    with torch.no_grad():
        cell.weight_ih.copy_(taught.w.weight)
        cell.weight_hh.copy_(taught.u.weight)
        cell.bias_ih.copy_(taught.w.bias)
        cell.bias_hh.zero_()


def test_rnn_cell_agrees_with_torch():
    ours, theirs = RnnCell(5, 7), nn.RNNCell(5, 7)
    copied(ours, theirs)
    x, h = torch.randn(3, 5), torch.randn(3, 7)
    torch.testing.assert_close(ours(x, h), theirs(x, h), rtol=0, atol=1e-6)


def test_lstm_cell_agrees_with_torch():
    ours, theirs = LstmCell(5, 7), nn.LSTMCell(5, 7)
    copied(ours, theirs)
    x, state = torch.randn(3, 5), (torch.randn(3, 7), torch.randn(3, 7))
    for mine, other in zip(ours(x, state), theirs(x, state), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("layer", "cell"), [(nn.RNN, RnnCell), (nn.LSTM, LstmCell)])
def test_a_taught_cell_unrolled_is_torchs_layer(layer, cell):
    reader = layer(4, 6, batch_first=True)
    cell = taught(cell(4, 6), reader)
    x = torch.randn(2, 30, 4)
    expected, _ = reader(x)
    h, c = torch.zeros(2, 6), torch.zeros(2, 6)
    for t in range(30):
        if layer is nn.LSTM:
            h, c = cell(x[:, t], (h, c))
        else:
            h = cell(x[:, t], h)
        torch.testing.assert_close(h, expected[:, t], rtol=0, atol=1e-6)


def test_gates_are_what_they_are_called():
    cell = LstmCell(2, 3)
    x, h, c = torch.randn(4, 2), torch.zeros(4, 3), torch.randn(4, 3)
    gate = cell.gates(x, h)
    assert list(gate) == ["input", "forget", "new", "output"]
    assert all(0 < gate[name].min() and gate[name].max() < 1 for name in ("input", "forget", "output"))
    with torch.no_grad():  # forget nothing, write nothing: the cell stays as it is
        cell.w.bias.copy_(torch.tensor([-50.0] * 3 + [50.0] * 3 + [0.0] * 6))
    torch.testing.assert_close(cell(x, (h, c))[1], c)


def test_forget_bias_starts_at_one():
    assert LstmCell(2, 3).w.bias.view(4, 3)[1].tolist() == [1, 1, 1]
    assert taught(LstmCell(2, 3), lstm_reader(2, 3)).w.bias.view(4, 3)[1].tolist() == [1, 1, 1]


def test_memory_opens_the_forget_gate_and_closes_the_input_gate():
    cell = taught(LstmCell(2, 500), lstm_reader(2, 500, memory=101))
    write, keep = cell.w.bias.view(4, 500)[:2]
    torch.testing.assert_close(write, -keep)
    span = keep.exp()  # uniform from 1 to 100
    assert 1 <= span.min() < 3 and 97 < span.max() <= 100 and span.mean().item() == pytest.approx(50.5, abs=4)


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (2, 8), (3, 4)])
def test_causal_convolution_keeps_the_length_and_reaches_back_only(kernel, dilation):
    layer = CausalConvolution(1, 1, kernel, dilation)
    x = torch.randn(1, 1, 40, requires_grad=True)
    out = layer(x)
    assert out.shape == x.shape
    out[0, 0, 30].backward()
    assert x.grad[0, 0].nonzero().flatten().tolist() == [30 - dilation * i for i in range(kernel)][::-1]


@pytest.mark.parametrize("layers", [0, 1, 3, 5])
@pytest.mark.parametrize("kernel", [2, 3])
def test_dilated_reader_sees_its_receptive_field_and_not_the_future(layers, kernel):
    reader = DilatedReader(2, 6, layers, kernel)
    with torch.no_grad():  # no weight and no ReLU may hide a path
        for parameter in reader.parameters():
            parameter.abs_()
    x = torch.rand(1, 100, 2, requires_grad=True)
    states = reader(x)
    assert states.shape == (1, 100, 6)
    states[0, 80].sum().backward()
    seen = x.grad[0].abs().sum(1).nonzero().flatten()
    reach = dilated_reach(layers, kernel)
    assert seen.tolist() == list(range(80 - reach + 1, 81))


def test_reach_of_dilated_layers():
    assert [dilated_reach(layers) for layers in range(5)] == [1, 2, 4, 8, 16]
    assert dilated_reach(4, kernel=3) == 31
    for steps in (1, 2, 3, 64, 65, 120):
        layers = layers_to_reach(steps)
        assert dilated_reach(layers) >= steps
        assert layers == 0 or dilated_reach(layers - 1) < steps


@pytest.mark.parametrize("kind", READERS)
def test_classifier_answers_from_the_last_state(kind):
    network = SequenceClassifier(READERS[kind](), 4)
    x = torch.randn(6, 9, 3)
    states = network.states(x)
    assert states.shape == (6, 9, 5)
    torch.testing.assert_close(network(x), network.answer(states[:, -1]))
    network(x).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("kind", READERS)
def test_no_state_knows_the_future(kind):
    network = SequenceClassifier(READERS[kind](), 4)
    x = torch.randn(2, 12, 3)
    changed = x.clone()
    changed[:, 8:] += 1
    before, after = network.states(x), network.states(changed)
    torch.testing.assert_close(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8], after[:, 8])
