"""Draw the figures: all of a chapter as SVG for the build, or one as PNG to look at.

python docs/_site/draw.py forward.two_noises out.png
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib import import_module
from io import StringIO
from modulefinder import ModuleFinder
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@cache
def drawings(chapter: str) -> dict[str, str]:
    """Every figure of a chapter as SVG to put in a page, by name; drawn in another process unless it is kept from before.

    Raises:
        ValueError: when there is no such file, or one of its figures cannot be drawn.
    """
    source = HERE / "figures" / f"{chapter}.py"
    if not source.is_file():
        known = sorted(path.stem for path in source.parent.glob("*.py") if path.stem not in ("__init__", "style"))
        raise ValueError(f"there is no docs/_site/figures/{chapter}.py; the chapters with figures: {', '.join(known)}")
    kept = ROOT / ".cache" / "figures" / f"{chapter}-{digest(source)}"
    if not kept.is_dir():
        done = subprocess.run([sys.executable, __file__, chapter, kept], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"the figures of {chapter} could not be drawn:\n{done.stderr}")
    return {path.stem: path.read_text("utf-8") for path in kept.glob("*.svg")}


def digest(source: Path) -> str:
    """What the figures of a file depend on, in short: the code that it imports, and the data files and pages that it names.

    Code counts as it is parsed, so that a changed comment draws nothing again.
    """
    # What is found there is ours; but Python's own module `site` is not the folder of the built pages.
    finder = ModuleFinder(path=[str(ROOT), str(HERE.parent)], excludes=["site"])
    finder.import_hook(f"_site.figures.{source.stem}")
    files = {Path(module.__file__).resolve() for module in finder.modules.values() if module.__file__}
    trees = [ast.dump(ast.parse(path.read_text("utf-8"))) for path in sorted({*files, Path(__file__).resolve()})]
    named = {node.value for node in ast.walk(ast.parse(source.read_text("utf-8"))) if isinstance(node, ast.Constant)}
    assets = ROOT / "docs" / "assets"
    data = [path for path in sorted(assets.rglob("*.*")) if named & {*path.relative_to(assets).parts}]
    run = ["".join(snippets(page)) for page in sorted((ROOT / "docs").glob("*.md")) if page.name in named]
    parts = [*map(str.encode, (*trees, *run)), *(path.read_bytes() for path in data)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def snippets(page: Path) -> list[str]:
    """The Python blocks of a page, for a figure of what they compute."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def figures(chapter: str) -> dict[str, Callable[[], Figure]]:
    """The public functions of a chapter's file, by name."""
    module = import_module(f"_site.figures.{chapter}")
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def svg(figure: Figure, name: str) -> str:
    """A figure as SVG for the page: its ink is the page's, its size the column's, and its ids are nobody else's."""
    from _site.figures.style import INK

    out = StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    # Its style sheet would reach the whole page; what it says stands in book.css.
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>|<!--.*?-->", "", text, flags=re.DOTALL)
    head, body = text[text.index("<svg") :].split(">", 1)
    head = re.sub(r' (width|height|version|xmlns)="[^"]*"', "", head)
    body = body.replace(INK, "currentColor")
    # A hundredth of a point is finer than any screen.
    body = re.sub(r' (?:d|x|y)="[^"]*"', lambda numbers: re.sub(r"(\.\d\d)\d+", r"\1", numbers[0]), body)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda own: own[0] if own[1] in used else "", body)
    body = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", body)
    return re.sub(r"\s*\n\s*", " ", f"{head}>{body}")


def write_chapter(chapter: str, folder: Path) -> None:
    """Draw a chapter; the folder appears only when all is done, so that a broken run leaves no half of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as begun:
        done = Path(begun, folder.name)
        done.mkdir()
        for name, draw in figures(chapter).items():
            (done / f"{name}.svg").write_text(svg(draw(), f"{chapter}.{name}"), "utf-8")
        try:
            done.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another build was faster, with the same result
                raise


def write_preview(figure: str, path: Path) -> None:
    """One figure as PNG: above on the light page, below on the dark one, at about twice its size on the screen."""
    import numpy as np
    from matplotlib import image

    from _site.figures import style

    chapter, _, name = figure.partition(".")
    halves = []
    for ink, paper in (("#222222", "#ffffff"), ("#d0d3dc", "#1e2129")):
        style.SETTINGS = {key: ink if value == style.INK else value for key, value in style.SETTINGS.items()}
        style.INK = ink
        sys.modules.pop(f"_site.figures.{chapter}", None)  # so that it takes its ink anew
        drawn = figures(chapter)[name]()
        drawn.savefig(path, dpi=200, facecolor=paper, transparent=False)
        halves.append(image.imread(path))
    image.imsave(path, np.vstack(halves))


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(HERE.parent)]
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    what, where = sys.argv[1], Path(sys.argv[2])
    write_preview(what, where) if "." in what else write_chapter(what, where)
