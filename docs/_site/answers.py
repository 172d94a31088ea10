"""The answer boxes: the HTML of one, and the file of values that the browser asks for when the box gets the focus."""

from __future__ import annotations

import json
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from tinyddpm.exercises.classroom import Exercise, exercise
from tinyddpm.exercises.classroom.boxes import box

from . import maths

FOLDER = "assets/answers"
"""Where the values are, in the site; `boxes.js` stands beside it."""


@cache
def values(name: str) -> dict[str, Any]:
    """What the browser needs, with the letters in MathML."""
    found = box(exercise(name))
    for letter in found["letters"]:
        letter["mathml"] = maths.mathml(letter["tex"])
    return found


def write(name: str, site: Path) -> None:
    """The file of values of a box."""
    folder = site / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(values(name), ensure_ascii=False, separators=(",", ":")), "utf-8")


def html(each: Exercise) -> str:
    """The form of a box, which its script shows, and what stands there without JavaScript."""
    letters, entry = values(each.name)["letters"], f"answer-{each.name}-input"
    label = "Your formula" if letters else "Your number"
    buttons = "".join(map(_button, letters))
    group = f'<div class="answer-letters" role="group" aria-label="Letters">{buttons}</div>' if letters else ""
    note = "<p>Here for one coordinate: leave out the sum or the mean over coordinates.</p>"
    return (
        f"{note if values(each.name)['coordinate'] else ''}"
        f'<form hidden novalidate><label for="{entry}">{label}</label><div class="answer-row">'
        f'<input id="{entry}" type="text" maxlength="1000" autocomplete="off" autocapitalize="off" autocorrect="off"'
        f' spellcheck="false"><button type="submit" class="md-button">Check</button></div>{group}'
        '<div class="answer-shown" role="group" aria-label="How it was read" tabindex="0" hidden></div>'
        '<div class="answer-said" role="status"></div></form>'
        "<noscript><p>To type the answer here, the page needs JavaScript. Without it, write the function in a file: "
        f"<code>tinyddpm exercises start {each.chapter}</code>, then <code>tinyddpm exercises check</code>.</p></noscript>"
    )


def _button(letter: dict[str, Any]) -> str:
    """A letter, which is put into the formula by a click: how it looks, and how it may be typed."""
    shown, name = maths.render(letter["tex"], False), escape(letter["name"], quote=True)
    return f'<button type="button" data-insert="{name}"><span aria-hidden="true">{shown}</span> <code>{name}</code></button>'
