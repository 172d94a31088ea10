"""Tables of what was computed, in Markdown, and the pages that show them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with aligned columns, "" for no rows; a column whose head ends in ":" is aligned to the right."""
    lines = [[title.removesuffix(":") for title in head], *rows]
    if len(lines) == 1:
        return ""
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rules = [
        "-" * width if title[-1] != ":" else "-" * (width - 1) + ":" for title, width in zip(head, widths, strict=True)
    ]
    return (
        "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in (lines[0], rules, *lines[1:]))
        + "\n"
    )


def renewed(page: str, parts: Mapping[str, str], kind: str = "table") -> str:
    """A page whose parts of a kind are replaced by these, each between `<!-- table: NAME -->` and `<!-- end of table -->`."""

    def put(match: re.Match[str]) -> str:
        new = parts.get(match[2])
        return match[0] if new is None else f"{match[1]}\n\n{new}\n{match[3]}"

    return re.sub(rf"(<!-- {kind}: (\w+) -->).*?(<!-- end of {kind} -->)", put, page, flags=re.DOTALL)


def recorded(page: str, said: Callable[[str], str]) -> str:
    """A page whose blocks of text under `<!-- record: NAME -->` are what is said of the name."""

    def put(match: re.Match[str]) -> str:
        return f"{match[1]}```text\n{said(match[2])}```"

    return re.sub(r"(<!-- record: (\w+) -->\n+)```text\n.*?```", put, page, flags=re.DOTALL)


def spread(values: Sequence[float]) -> str:
    """A mean and, of several values, their standard deviation."""
    of_several = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{of_several}"


def small(*chances: float) -> list[str]:
    """Probabilities; "" where there is none."""
    return ["" if chance != chance else "< 0.0001" if chance < 1e-4 else f"{chance:.2g}" for chance in chances]
