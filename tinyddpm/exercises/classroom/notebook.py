"""A notebook for each chapter: the exercises, each with a cell to write in and a check under it. It has no outputs.

``python -m tinyddpm.exercises.classroom.notebook notebooks`` writes those of the repository again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from ...equation import CHAPTERS
from . import KINDS, Exercise, exercises

INSTALL = "%pip install --quiet tinyddpm"
"""What a hosted notebook needs first."""

HEAD = """\
# Exercises of chapter {number}, {chapter}

Write the body of each function and run its cell. The line at its end asks the book: it says whether the function is right,
and if not, shows the simplest example on which it is wrong.

`step` holds the numbers of one time: `beta`, `alpha`, `alpha_bar`, `alpha_bar_prev` (of $t-1$), `noise_var`
($1-\\bar\\alpha_t$) and `noise_var_prev` (of $t-1$).
"""


def notebook(chapter: str, chosen: Iterable[Exercise]) -> dict[str, Any]:
    """The notebook of a chapter, in the format of Jupyter (nbformat 4.5)."""
    cells = [
        _cell("markdown", "head", HEAD.format(number=CHAPTERS.index(chapter) + 1, chapter=chapter)),
        _cell("code", "install", f"# Not needed where the book is installed.\n{INSTALL}"),
        _cell("code", "import", "import numpy as np\n\nimport tinyddpm"),
    ]
    for each in chosen:
        cells += [
            _cell("markdown", f"{each.function}-words", _words(each)),
            _cell("code", each.function, f"{_bare(each)}\n\ntinyddpm.check({each.function}, {each.name!r})"),
        ]
    about = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def text(chapter: str) -> str:
    """The notebook of a chapter, as it stands in a file."""
    made = notebook(chapter, [each for each in exercises() if each.chapter == chapter])
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _cell(kind: str, name: str, source: str) -> dict[str, Any]:
    cell = {"cell_type": kind, "id": name.replace("_", "-")[:64], "metadata": {}, "source": source.strip("\n")}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _words(each: Exercise) -> str:
    hints = "".join(
        f"\n<details><summary>Hint {place}</summary>{escape(hint)}</details>"
        for place, hint in enumerate(each.hints, 1)
    )
    return f"## {each.title}\n\n`{each.name}`, {KINDS[each.kind]}, {each.minutes} minutes\n\n{each.statement.strip()}\n{hints}"


def _bare(each: Exercise) -> str:
    """The function as the student finds it, without the statement, which stands above it."""
    body = each.start.rstrip() or "    raise NotImplementedError"
    return f"def {each.function}({each.arguments}):\n{body}\n"


def main(folder: Path) -> None:
    """Write the notebooks of all chapters."""
    folder.mkdir(parents=True, exist_ok=True)
    for chapter in CHAPTERS:
        (folder / f"{chapter}.ipynb").write_text(text(chapter), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
