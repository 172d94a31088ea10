"""LAMB: Adam, but in each layer the step is as long as the weights are, times the learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class Lamb(torch.optim.Optimizer):
    """The optimiser of You et al. 2020, without weight decay; PyTorch has none of its own.

    Args:
        parameters: the weights.
        lr: learning rate.
        betas: how much of the averages of the gradient and of its square is kept in a step.
        eps: keeps the division from 0.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step down the gradients that the weights have."""
        for group in self.param_groups:
            keep_1, keep_2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros(())
                    state["first"], state["second"] = torch.zeros_like(weight), torch.zeros_like(weight)
                state["step"] += 1
                state["first"].lerp_(weight.grad, 1 - keep_1)
                state["second"].lerp_(weight.grad**2, 1 - keep_2)
                n = state["step"].item()
                first, second = state["first"] / (1 - keep_1**n), state["second"] / (1 - keep_2**n)
                adam = first / (second.sqrt() + group["eps"])
                length, adam_length = weight.norm(), adam.norm()
                trust = torch.where((length > 0) & (adam_length > 0), length / adam_length, 1.0)
                weight -= group["lr"] * trust * adam
