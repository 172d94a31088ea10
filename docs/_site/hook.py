"""The mkdocs hook: a thin layer that hands the Markdown extension to the build, and KaTeX's style and fonts to the site."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from _site import answers, maths  # noqa: E402
from _site.extension import Book  # noqa: E402
from tinyddpm.equation import CHAPTERS  # noqa: E402

log = logging.getLogger("mkdocs.hooks.tinyddpm")


def on_config(config: Any) -> Any:
    chapters = {name for name in ("mixture", *CHAPTERS) if Path(config.docs_dir, f"{name}.md").is_file()}
    report = Path(config.config_file_path).parent / config.extra["equation_report"]
    global _book
    _book = Book(report, chapters, config.extra.get("source", ""))
    config.markdown_extensions.append(_book)
    return config


def on_files(files: Files, config: Any) -> Files:
    """KaTeX's own style sheet and fonts: no request leaves the site."""
    try:
        dist = maths.katex() / "dist"
    except maths.MathsError as problem:
        raise PluginError(str(problem)) from None
    for path in (dist / "katex.min.css", *sorted(dist.glob("fonts/*.woff2"))):
        files.append(File.generated(config, f"assets/katex/{path.relative_to(dist)}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    _book.page = page.file.src_uri
    return markdown


def on_post_page(output: str, **_: Any) -> str:
    """The theme leaves its search dialog without a name for screen readers."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def on_post_build(config: Any, **_: Any) -> None:
    for name in sorted(_book.boxes):
        answers.write(name, Path(config.site_dir))
    for words in _book.missing():
        log.warning(words)


def on_build_error(error: Exception, **_: Any) -> None:
    """What a page got wrong ends the build with its message, not with a traceback; mkdocs has named the page."""
    if isinstance(error, ValueError):
        raise PluginError(str(error)) from None


_book: Book | None = None
