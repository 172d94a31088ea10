"""Tables of what was measured, in Markdown, and the pages that show them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its columns in line; what stands under a head that ends in ":" stands at the right."""
    lines = [[title.removesuffix(":") for title in head], *rows]
    if len(lines) == 1:
        return "Nothing has been measured yet.\n"
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rules = [
        "-" * width if title[-1] != ":" else "-" * (width - 1) + ":" for title, width in zip(head, widths, strict=True)
    ]
    return (
        "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in (lines[0], rules, *lines[1:]))
        + "\n"
    )


def renewed(page: str, tables: Mapping[str, str]) -> str:
    """A page with these tables, each between `<!-- table: NAME -->` and `<!-- end of table -->`."""

    def put(found: re.Match[str]) -> str:
        new = tables.get(found[2])
        return found[0] if new is None else f"{found[1]}\n\n{new}\n{found[3]}"

    return re.sub(r"(<!-- table: (\w+) -->).*?(<!-- end of table -->)", put, page, flags=re.DOTALL)


def spread(values: Sequence[float]) -> str:
    """A mean and, of several values, their standard deviation."""
    of_several = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{of_several}"
