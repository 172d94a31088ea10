"""The griffe extension: in the reference, each equation has all its arguments, its number and a link to its chapter."""

from __future__ import annotations

from typing import Any

import griffe

from tinyddpm import equations


class Equations(griffe.Extension):
    """Gives every registered function its whole docstring: the arguments come from the letters, not from its source."""

    def __init__(self) -> None:
        super().__init__()
        self.known = {f"{known.function.__module__}.{known.function.__qualname__}": known for known in equations()}

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        known = self.known.get(func.path)
        if known and func.docstring:
            origins = ", ".join(f"[[eq:{origin.name}]]" for origin in known.derived_from)
            derived = f", derived from {origins}" if origins else ""
            func.docstring.value = (
                f"{known.function.__doc__.rstrip()}\n\n**Equation [[eq:{known.name}]]**: {known.source}{derived}."
            )
