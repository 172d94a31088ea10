"""Every algebraic equation goes through `torch.compile` in one graph, with steps of tensors and of floats."""

import inspect

import pytest
import torch

from tinyddpm import equations, forward
from tinyddpm.letters import Step

SCHEDULE = forward.cosine(50)
TIMES = {"step": 20, "step_prev": 19, "step_next": 21, "step_s": 12, "step_u": 31}
"""Where each step of an equation is; all of them in the order that equations ask for."""

CHOSEN = {"snr_min": 0.1, "snr_max": 7.0, "mean_square_score": 0.2, "T": 100.0, "axis": 1.0}
"""Numbers that must stand in some relation to others."""


def value(argument, number):
    """An operand within the bounds of its letter: a tensor of three samples."""
    if argument.name in CHOSEN:
        return torch.tensor(CHOSEN[argument.name], dtype=torch.float64)
    low, high = argument.domain.low, argument.domain.high
    low, high = max(low, -1.5), min(high, 2.0)
    return low + (high - low) * torch.linspace(0.15 + 0.02 * number, 0.85, 3, dtype=torch.float64)


def operands(known, of_tensors):
    """Arguments for an equation; the optional ones are left out."""
    parameters, found = inspect.signature(known.function).parameters, {}
    for number, argument in enumerate(known.arguments):
        if parameters[argument.name].default is not inspect.Parameter.empty:
            continue
        if argument.kind == "step":
            step = SCHEDULE[TIMES[argument.name]]
            tensors = (torch.full((1,), field, dtype=torch.float64) for field in step)
            found[argument.name] = Step._make(tensors) if of_tensors else step
        elif argument.kind == "whole":
            found[argument.name] = max(2, int(argument.domain.low))
        else:
            assert argument.kind in ("number", "pixels"), f"{known.name} takes {argument.kind}"
            found[argument.name] = value(argument, number)
    return found


ALGEBRAIC = [known for known in equations() if not known.unproved]


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")  # of array-api-compat
@pytest.mark.parametrize("chapter", sorted({known.chapter for known in ALGEBRAIC}))
def test_the_equations_of_a_chapter_compile_in_one_graph(chapter):
    """All of them in one function, which is far quicker than one by one; the error of a break names the line."""
    calls = [
        (known, operands(known, of_tensors))
        for known in ALGEBRAIC
        if known.chapter == chapter
        for of_tensors in ((True, False) if any(argument.kind == "step" for argument in known.arguments) else (True,))
    ]
    functions, given = [known.function for known, _ in calls], [operands for _, operands in calls]

    def values(given):
        return [function(**operands) for function, operands in zip(functions, given, strict=True)]

    torch._dynamo.reset()  # what was compiled of this code for other chapters
    compiled = torch.compile(values, fullgraph=True, backend="eager")
    for (known, _), found, expected in zip(calls, compiled(given), values(given), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12, msg=lambda text: f"{known.name}: {text}")  # noqa: B023
