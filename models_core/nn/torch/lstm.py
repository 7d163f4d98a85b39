"""`nn.lstm` in PyTorch. Parameters have the names and layouts of the original: "cells.0.input" (in, 4 width), ..

PyTorch's own recurrence computes it: its gates stand in the same order, its second bias is zero here.
"""

from __future__ import annotations

import torch

from models_core.nn.torch.mlp import Dense


class Cell(torch.nn.Module):
    """One layer's weights; the bias of the forget gate starts at 1."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.input = torch.nn.Parameter(torch.empty(inputs, 4 * width))
        self.hidden = torch.nn.Parameter(torch.empty(width, 4 * width))
        self.bias = torch.nn.Parameter(torch.zeros(4 * width))
        torch.nn.init.xavier_uniform_(self.input)
        torch.nn.init.orthogonal_(self.hidden)
        with torch.no_grad():
            self.bias[width : 2 * width] = 1.0


class Lstm(torch.nn.Module):
    """The network; arguments as `nn.lstm.init`."""

    def __init__(
        self, vocabulary: int, *, outputs: int | None = None, embedding: int = 8, width: int = 256, layers: int = 2
    ) -> None:
        super().__init__()
        self.embedding = torch.nn.Parameter(torch.randn(vocabulary, embedding) * 0.05)
        self.cells = torch.nn.ModuleList(Cell(width if layer else embedding, width) for layer in range(layers))
        self.head = Dense(width if layers else embedding, vocabulary if outputs is None else outputs)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Next-token logits (batch, time, outputs) at every place of tokens (batch, time), from a zero state."""
        logits: torch.Tensor = self.head(self.states(tokens))
        return logits

    def classify(self, tokens: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Class logits (batch, outputs) from the state after each sequence's last token; lengths: see `nn.lstm`."""
        hidden = self.states(tokens)
        last = torch.full(tokens.shape[:1], tokens.shape[1] - 1) if lengths is None else lengths - 1
        logits: torch.Tensor = self.head(hidden[torch.arange(len(hidden)), last.long()])
        return logits

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """The last layer's hidden state (batch, time, width) after each token."""
        x = torch.nn.functional.embedding(tokens, self.embedding)
        for cell in self.cells:
            assert isinstance(cell, Cell)
            zero = x.new_zeros(1, x.shape[0], cell.hidden.shape[0])
            weights = [cell.input.T.contiguous(), cell.hidden.T.contiguous(), cell.bias, torch.zeros_like(cell.bias)]
            x = torch.lstm(x, (zero, zero), weights, True, 1, 0.0, self.training, False, True)[0]
        return x
