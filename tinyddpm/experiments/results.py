"""What every experiment does with its results: save them in a file, show them as tables; and the exit code of its command."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ..files import write, write_json
from ..tables import renewed

Results: TypeAlias = dict[str, Any]
"""Numbers and lists of them, as they stand in the JSON."""

RESULTS = "results.json"


def load(folder: Path, command: str, parts: Sequence[str]) -> Results:
    """What a command has measured.

    Raises:
        ValueError: when there is nothing, or nothing that can be read.
    """
    file = folder / RESULTS
    try:
        results: Results = json.loads(file.read_text("utf-8"))
        for part in parts:
            results[part]
    except FileNotFoundError:
        raise ValueError(f"{file} is not there; python -m tinyddpm.experiments.{command} measures it") from None
    except (ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{file} is not what {command} wrote: {problem!r}") from None
    return results


def save(folder: Path, results: Results) -> None:
    """Write what has been measured so far."""
    write_json(folder / RESULTS, results)


def check_same(was: Mapping[str, Any], now: Mapping[str, Any], out: Path, part: str = "") -> None:
    """Refuse to add to results that were made with other settings.

    Raises:
        ValueError: naming the setting, what it was and what it is.
    """
    for name in {**was, **now}:
        if was.get(name) != now.get(name):
            there = f"as in the results {f'on {part} ' if part else ''}in {str(out)!r}; another --out begins anew"
            raise ValueError(f"{name} must stay {was.get(name)!r}, got {now.get(name)!r}, {there}")


def as_tables(kinds: Mapping[str, Callable[[Results], str]], results: Results) -> dict[str, str]:
    """All tables, as Markdown, by the names that they have on a page."""
    return {name: made(results) for name, made in kinds.items()}


def show(tables: Mapping[str, str], page: Path | None) -> None:
    """Print tables and put them on a page, if one is given."""
    print("", *tables.values(), sep="\n")
    if page is not None:
        content = renewed(page.read_text("utf-8"), tables).encode()
        write(page, lambda file: file.write(content))


def exit_code(work: Callable[[], None]) -> int:
    """Do the work of a command; gives the exit code: 0, 2 for invalid input, 130 when interrupted."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work()
    except KeyboardInterrupt:
        print("\ntinyddpm: interrupted; what was written is kept", file=sys.stderr)
        return 130
    except (ValueError, ArithmeticError, OSError) as problem:
        print(f"tinyddpm: {problem}", file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0
