"""Which times a batch is trained at, and how much the loss of each counts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .. import elbo
from . import stratified_times
from .config import Config

HISTORY = 10
"""How many losses of each time are remembered, to draw times by importance."""

REFRESH = 50
"""Steps after which the chances of the times are computed anew, which waits for the device."""


class Times(nn.Module):
    """Draws times as a config says. A module only for its buffers: they belong into a checkpoint."""

    history: Tensor
    seen: Tensor
    chances: Tensor
    weights: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.kind, self.T, steps = config.times, config.T, config.noise_schedule().steps
        weights = np.ones(self.T)
        if config.weighting == "min_snr":
            weights = elbo.min_snr_weight(steps, predicts=config.predicts)
        if config.weighting == "bound" and not config.learned_variance:  # whose loss is the bound itself
            weights = elbo.ERROR_WEIGHTS[config.predicts](steps, steps.beta)
        self.register_buffer("weights", torch.from_numpy(weights / weights.mean()).float())
        self.register_buffer("chances", torch.full((self.T,), 1 / self.T))
        if self.kind == "importance":
            self.register_buffer("history", torch.zeros(self.T, HISTORY + 1))
            self.register_buffer("seen", torch.zeros(self.T, dtype=torch.int64))

    def draw(self, batch: int, rng: torch.Generator, step: int) -> Tensor:
        """Times for the batch of a step, in 1..T."""
        device = self.chances.device
        if self.kind == "importance":
            if step % REFRESH == 0 and self.seen.min() >= HISTORY:
                chances = elbo.importance_weights(self.history[:, :HISTORY].cpu().numpy())
                self.chances.copy_(torch.from_numpy(0.99 * chances + 0.01 / self.T))  # none is forgotten
            return 1 + torch.multinomial(self.chances, batch, replacement=True, generator=rng)
        if self.kind == "uniform":
            return torch.randint(1, self.T + 1, (batch,), generator=rng, device=device)
        return stratified_times(torch.rand((), generator=rng, device=device, dtype=torch.float64), batch, self.T)

    def weigh(self, t: Tensor, losses: Tensor) -> Tensor:
        """The losses, weighted so that their mean is the same however the times are drawn."""
        losses = self.weights[t - 1] * losses
        if self.kind != "importance":
            return losses
        self._remember(t, losses.detach())
        return losses / (self.T * self.chances[t - 1])

    def _remember(self, t: Tensor, losses: Tensor) -> None:
        """Put each loss in the place of the oldest of its time."""
        order = t.argsort(stable=True)
        place = t[order] - 1
        again = torch.arange(len(t), device=t.device) - torch.searchsorted(place, place)  # how often it came before
        slot = torch.where(again < HISTORY, (self.seen[place] + again) % HISTORY, HISTORY)  # the last is read by no one
        self.history[place, slot] = losses[order]
        self.seen.index_add_(0, t - 1, torch.ones_like(t))
