"""The graph of what follows from what, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from html import escape

from tinyddpm.equation import Equation

COLUMN, ROW, WIDTH, HEIGHT, EDGE = 250, 27, 186, 21, 8


def svg(known: Sequence[Equation], address: Callable[[Equation], str], status: Callable[[str], str]) -> str:
    """Every equation stands in the column after the last one that it is derived from; those with no links are left out.

    Args:
        known: the equations.
        address: where a click leads.
        status: what the checks said of a name.
    """
    linked = {end.name: end for e in known for start in e.derived_from for end in (start, e)}

    @cache
    def depth(name: str) -> int:
        return max((1 + depth(origin.name) for origin in linked[name].derived_from), default=0)

    columns: list[list[Equation]] = [[] for _ in range(1 + max(map(depth, linked)))]
    for name in sorted(linked, key=[e.name for e in known].index):
        columns[depth(name)].append(linked[name])
    place = {e.name: row for column in columns for row, e in enumerate(column)}
    for column in columns[1:]:  # each near the middle of what it comes from: fewer crossings
        column.sort(key=lambda e: sum(place[o.name] for o in e.derived_from) / len(e.derived_from))
        place.update({e.name: row for row, e in enumerate(column)})
    tallest = max(map(len, columns))

    def corner(e: Equation) -> tuple[float, float]:
        column = columns[depth(e.name)]
        return EDGE + COLUMN * depth(e.name), EDGE + ROW * (place[e.name] + (tallest - len(column)) / 2)

    parts = []
    for e in linked.values():
        for origin in e.derived_from:
            (x, y), (to_x, to_y) = corner(origin), corner(e)
            x, y, to_y, bend = x + WIDTH, y + HEIGHT / 2, to_y + HEIGHT / 2, (COLUMN - WIDTH) * 0.6
            parts.append(f'<path d="M{x:g} {y:g}C{x + bend:g} {y:g} {to_x - bend:g} {to_y:g} {to_x:g} {to_y:g}"/>')
    for e in linked.values():
        x, y = corner(e)
        state = status(e.name)
        text = f"({e.number}) {e.name.rpartition('.')[2]}"
        parts.append(
            f'<a href="{escape(address(e))}" class="status-{state.replace(" ", "-")}"><title>{e.name}: {state}</title>'
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>'
            f'<text x="{x + 8:g}" y="{y + 15:g}">{escape(text)}</text></a>'
        )
    width, height = COLUMN * len(columns) - (COLUMN - WIDTH) + 2 * EDGE, ROW * tallest + 2 * EDGE
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}">{"".join(parts)}</svg>'
