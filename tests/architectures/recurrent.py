"""Recurrent networks: torch's layers, cells that are unrolled, cells written by hand, encoder and decoder."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.architectures.cases import Case, log_factorial, tokens


class Recurrent(nn.Module):
    """A recurrent layer and a linear one, on the last step or on all."""

    def __init__(self, layer: nn.RNNBase, width: int, every_step: bool = False) -> None:
        super().__init__()
        self.layer, self.last, self.every_step = layer, nn.Linear(width, 2), every_step

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)[0]
        return self.last(y if self.every_step else y[:, -1])


class Unrolled(nn.Module):
    """A cell over four steps."""

    def __init__(self, cell: nn.Module, width: int) -> None:
        super().__init__()
        self.cell, self.last, self.width = cell, nn.Linear(width, 2), width

    def forward(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(len(x), self.width, dtype=x.dtype)
        state = (zeros, zeros) if isinstance(self.cell, nn.LSTMCell) else zeros
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.last(state[0] if isinstance(state, tuple) else state)


class ByHand(nn.Module):
    """An LSTM cell: four gates of one linear layer on input and state; the gates see the cell, too."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.states = nn.Linear(3, 20), nn.Linear(5, 20, bias=False)
        self.peep, self.norm, self.last = nn.Parameter(torch.randn(2, 5)), nn.LayerNorm(5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(x.shape[0], 5, dtype=x.dtype)
        for t in range(x.shape[1]):
            keep, take, show, new = (self.inputs(x[:, t]) + self.states(h)).chunk(4, dim=-1)
            keep, take = torch.sigmoid(keep + self.peep[0] * c), torch.sigmoid(take + self.peep[1] * c)
            c = keep * c + take * torch.tanh(new)
            h = torch.sigmoid(show) * torch.tanh(self.norm(c))
        return self.last(h)


class MinimalGate(nn.Module):
    """A gated cell on the concatenation of input and state (Zhou et al. 2016), a learned first state."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.new, self.last = nn.Linear(8, 5), nn.Linear(8, 5), nn.Linear(5, 2)
        self.start = nn.Parameter(torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        h = self.start.expand(x.shape[0], 5)
        for step in x.unbind(1):
            gate = torch.sigmoid(self.gate(torch.cat([step, h], 1)))
            h = torch.lerp(h, torch.tanh(self.new(torch.cat([step, gate * h], 1))), gate)
        return self.last(h)


class Translator(nn.Module):
    """An encoder whose last state starts the decoder; the decoder's outputs look back at the encoder's (Luong 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(11, 4), nn.Embedding(7, 3)
        self.encoder, self.decoder = nn.GRU(4, 5, batch_first=True), nn.GRU(3, 5, batch_first=True)
        self.mix, self.last = nn.Linear(10, 6), nn.Linear(6, 7)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = self.encoder(self.source(source))
        h, _ = self.decoder(self.target(target), state)
        look = torch.bmm(F.softmax(torch.bmm(h, memory.transpose(1, 2)), -1), memory)
        return self.last(torch.tanh(self.mix(torch.cat([look, h], -1))))


class Tagger(nn.Module):
    """Embedding, a convolution over the sequence, a bidirectional LSTM, a tag for every token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.conv = nn.Embedding(11, 4), nn.Conv1d(4, 5, 3, padding=1)
        self.layer, self.last = nn.LSTM(5, 3, batch_first=True, bidirectional=True), nn.Linear(6, 4)

    def forward(self, numbers: Tensor) -> Tensor:
        x = torch.relu(self.conv(self.embedding(numbers).transpose(1, 2))).transpose(1, 2)
        return self.last(self.layer(x)[0])


def series(width: int = 3, length: int = 4) -> tuple[Tensor]:
    """An example series."""
    return (torch.zeros(1, length, width),)


def lstm() -> Case:
    """The hidden 5 of each of two layers: the four gates, the cell's value and the state move together."""
    return Recurrent(nn.LSTM(3, 5, 2, batch_first=True), 5), series(), 2 * log_factorial(5)


def lstm_bidirectional() -> Case:
    """The hidden 4 of each of two directions, in each of two layers."""
    net = Recurrent(nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), 8, every_step=True)
    return net, series(), 4 * log_factorial(4)


def lstm_projected() -> Case:
    """The cell's 5 values and the projected state's 3."""
    net = Recurrent(nn.LSTM(3, 5, batch_first=True, proj_size=3), 3)
    return net, series(), log_factorial(5) + log_factorial(3)


def gru() -> Case:
    """The hidden 6, without biases."""
    return Recurrent(nn.GRU(3, 6, bias=False, batch_first=True), 6), series(), log_factorial(6)


def gru_bidirectional() -> Case:
    """The hidden 4 of each direction, sequence first."""

    class Net(Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            y, state = self.layer(x)
            return self.last(torch.cat([state[0], state[1]], -1)) + y.mean()

    return Net(nn.GRU(3, 4, bidirectional=True), 8), (torch.zeros(4, 1, 3),), 2 * log_factorial(4)


def rnn() -> Case:
    """The hidden 5 and 5 of two layers."""
    return Recurrent(nn.RNN(3, 5, 2, batch_first=True), 5), series(), 2 * log_factorial(5)


def rnn_relu() -> Case:
    """The hidden 6."""
    return Recurrent(nn.RNN(3, 6, nonlinearity="relu", batch_first=True), 6, True), series(), log_factorial(6)


def lstm_cell() -> Case:
    """The hidden 5."""
    return Unrolled(nn.LSTMCell(3, 5), 5), series(), log_factorial(5)


def gru_cell() -> Case:
    """The hidden 5."""
    return Unrolled(nn.GRUCell(3, 5), 5), series(), log_factorial(5)


def cell_by_hand() -> Case:
    """The hidden 5: gates, cell, state, and the weights between them."""
    return ByHand(), series(), log_factorial(5)


def minimal_gate() -> Case:
    """The hidden 5, behind the three inputs in the concatenation."""
    return MinimalGate(), series(), log_factorial(5)


def translator() -> Case:
    """Embeddings of 4 and 3; one hidden 5 for encoder and decoder; 6 behind them."""
    return Translator(), (*tokens(), *tokens(7, 5)), sum(log_factorial(n) for n in (4, 3, 5, 6))


def tagger() -> Case:
    """Embedding 4, convolution 5, the hidden 3 of each direction."""
    return Tagger(), tokens(), log_factorial(4) + log_factorial(5) + 2 * log_factorial(3)


CASES: tuple[Callable[[], Case], ...] = (
    lstm, lstm_bidirectional, lstm_projected, gru, gru_bidirectional, rnn, rnn_relu, lstm_cell, gru_cell,
    cell_by_hand, minimal_gate, translator, tagger,
)  # fmt: skip
