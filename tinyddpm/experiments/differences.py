"""Differences between what was measured several times: their ratios, with intervals, corrected for how many there are.

The logarithms of all that is compared are taken together as a randomised block design: each is the sum of a part of its
own, a part of its block (a seed, or a network that all of them sample from) and chance. One seed more or less on a row
then matters little, and chance is known from all rows at once, with many degrees of freedom. That needs an equal spread of
the logarithms in all rows: `equal_spread` tests it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import stats

LEVEL = 0.05
"""The chance that any of the differences which are called significant is none; and one minus that of an interval."""

Rows: TypeAlias = Mapping[str, Mapping[int, float]]
"""Positive numbers by the name of what was measured, and by block."""


class Difference(NamedTuple):
    """How many times as large one is as another; NaN where chance is unknown.

    Attributes:
        ratio: of the geometric means.
        low: lower end of its 95 % interval, by itself.
        high: the upper end.
        p: of no difference, by Student's t, by itself.
        holm: the same, corrected for the number of comparisons by Holm's method.
        df: degrees of freedom of the spread.
    """

    ratio: float
    low: float
    high: float
    p: float
    holm: float
    df: int

    @property
    def sure(self) -> bool:
        """Whether it is significant among all the comparisons that it was corrected with."""
        return self.holm < LEVEL

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" ({_short(self.low)} to {_short(self.high)})"
        return f"**{_short(self.ratio)}**{interval}" if self.sure else f"{_short(self.ratio)}{interval}"


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 9.95 else f"{ratio:.0f}"


def differences(rows: Rows, pairs: Mapping[str, tuple[str, str]]) -> dict[str, Difference]:
    """The comparisons that can be made, of the rows that each pair names; Holm's correction is for all of these.

    Args:
        rows: what was measured.
        pairs: by the name of each comparison, the row in question and the row that it is compared with.
    """
    names = [name for name in rows if rows[name]]
    blocks = sorted({block for name in names for block in rows[name]})
    cells = [(names.index(name), blocks.index(block), rows[name][block]) for name in names for block in rows[name]]
    design = np.zeros((len(cells), len(names) + len(blocks)))
    for cell, (row, block, _) in enumerate(cells):
        design[cell, row] = design[cell, len(names) + block] = 1
    logs = np.log([value for *_, value in cells])
    inverse = np.linalg.pinv(design.T @ design)
    fitted = inverse @ design.T @ logs
    df = len(cells) - int(np.linalg.matrix_rank(design)) if cells else 0
    var = float(((logs - design @ fitted) ** 2).sum() / df) if df else math.nan
    made: dict[str, Difference] = {}
    for comparison, (one, other) in pairs.items():
        if one not in names or other not in names:
            continue
        contrast = np.zeros(len(names) + len(blocks))
        contrast[names.index(one)], contrast[names.index(other)] = 1, -1
        if not np.allclose(contrast @ inverse @ design.T @ design, contrast):
            continue  # nothing connects the two: no block has both, nor others that are in blocks of both
        apart, error = float(contrast @ fitted), math.sqrt(var * float(contrast @ inverse @ contrast))
        reach = float(stats.t.ppf(1 - LEVEL / 2, df)) * error if df else math.nan
        p = 2 * float(stats.t.sf(abs(apart) / error, df)) if df and error else math.nan
        low, high = math.exp(apart - reach), math.exp(apart + reach)
        made[comparison] = Difference(math.exp(apart), low, high, p, math.nan, df)
    return corrected(made)


def corrected(made: Mapping[str, Difference]) -> dict[str, Difference]:
    """The same comparisons, corrected together by Holm's method."""
    known = sorted((name for name in made if not math.isnan(made[name].p)), key=lambda name: made[name].p)
    done, most = dict(made), 0.0
    for place, name in enumerate(known):
        most = max(most, min(1.0, (len(known) - place) * made[name].p))
        done[name] = made[name]._replace(holm=most)
    return done


def found(made: Mapping[str, Difference]) -> tuple[int, int, int]:
    """How many comparisons there are, how many survive Holm's correction, and how many Benjamini and Hochberg's."""
    p = [each.p for each in made.values() if not math.isnan(each.p)]
    expected = stats.false_discovery_control(p) if p else np.ones(0)
    return len(p), sum(each.sure for each in made.values()), int((expected < LEVEL).sum())


def equal_spread(rows: Rows) -> tuple[float, float]:
    """The spread of the logarithms within a row, and p of equal spreads by Bartlett's test; NaN where there are too few.

    What all rows share of a block is taken away first; rows without a spread count for the first number alone.
    """
    several = {name: row for name, row in rows.items() if len(row) > 1}
    blocks = {block for row in several.values() for block in row}
    shared = {block: np.mean([np.log(row[block]) for row in several.values() if block in row]) for block in blocks}
    each = [np.array([np.log(value) - shared[block] for block, value in row.items()]) for row in several.values()]
    if len(each) < 2:
        return math.nan, math.nan
    pooled = math.sqrt(sum(len(row) * row.var() for row in each) / sum(len(row) - 1 for row in each))
    spread = [row for row in each if row.std() > 0]
    return pooled, float(stats.bartlett(*spread).pvalue) if len(spread) > 1 else math.nan
