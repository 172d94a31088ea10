"""A textbook on denoising diffusion that runs and checks itself.

One module is one chapter: `forward`, `posterior`, `elbo`, `vae_vs_vdm`, `langevin`, `train`;
`mixture` is the running example. Importing the package imports none of them, so each costs only itself.
"""

from importlib import import_module, util

from .equation import CHAPTERS, Equation, registry

__version__ = "0.1.0"


def equations() -> tuple[Equation, ...]:
    """Every equation of the book, in its order; imports all the chapters there are."""
    present = [name for name in ("mixture", *CHAPTERS) if util.find_spec(f"{__name__}.{name}")]
    for name in present:
        import_module(f"{__name__}.{name}")
    own = [k for k in registry.values() if f"{k.function.__module__}.".startswith(f"{__name__}.{k.chapter}.")]
    return tuple(sorted(own, key=lambda known: (present.index(known.chapter), known.place)))
