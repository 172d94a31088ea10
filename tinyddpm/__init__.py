"""A textbook on denoising diffusion that runs and checks itself.

One module is one chapter: `forward`, `posterior`, `elbo`, `vae_vs_vdm`, `langevin`, `train`;
`mixture` is the running example. Importing the package imports none of them, so each costs only itself.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module, util
from typing import TYPE_CHECKING, Any

from .equation import CHAPTERS, Equation, registry

if TYPE_CHECKING:
    from .against import Verdict

__version__ = "0.1.0"


def equations() -> tuple[Equation, ...]:
    """Every equation of the book, in its order; imports all the chapters there are."""
    present = [name for name in ("mixture", *CHAPTERS) if util.find_spec(f"{__name__}.{name}")]
    for name in present:
        import_module(f"{__name__}.{name}")
    own = [k for k in registry.values() if f"{k.function.__module__}.".startswith(f"{__name__}.{k.chapter}.")]
    return tuple(sorted(own, key=lambda known: (present.index(known.chapter), known.place)))


def check(function: Callable[..., Any], name: str) -> Verdict:
    """Compare a function of your own with an equation or an exercise of this name; in a notebook the answer is a small table.

    Raises:
        TypeError: when it is no function.
        ValueError: when there is no equation and no exercise of this name.
    """
    if not callable(function):
        raise TypeError(f"function must be a function, got {function!r}")
    from .exercises import classroom

    return classroom.check(function, name)
