"""The Markdown extension: formulas, equations by name, figures, and the lists made of them.

$...$, $$...$$                      formulas (pymdownx.arithmatex finds them, KaTeX sets them)
[[eq:posterior.mean]]               alone on a line the numbered equation; inside one a link such as (2.6)
[[code:train.unet.UNet.forward]]    alone on a line: the source of a function or class of the package
[[answer:posterior.mean]]           alone on a line: an exercise, with a box for its answer
![alt](figure:forward.two_noises)   a figure; the next line, in *italics*, is its caption
[[equations]], [[equation-graph]], [[bibliography]], [[letters]], [[step-fields]], [[papers]], [[exercises]]
                                    lists, alone on a line
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as etree  # noqa: N813 (as Markdown itself calls it)
from collections.abc import Iterable
from html import escape, unescape
from itertools import groupby
from pathlib import Path
from pkgutil import resolve_name

from markdown import Extension, Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.inlinepatterns import InlineProcessor
from markdown.treeprocessors import Treeprocessor
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from tinyddpm import bibliography, door, equations, mutants
from tinyddpm.equation import CHAPTERS, Equation, find, listing
from tinyddpm.exercises.classroom import exercise, exercises
from tinyddpm.letters import FIELDS, KINDS, LETTERS, PAPERS, Letter

from . import answers, draw, graph, maths
from .status import Report

NAME = r"\[\[eq:([\w.]+)\]\]"

GITHUB, COLAB = "https://github.com/", "https://colab.research.google.com/github/"


class Book(Extension):
    """Everything above, for one build.

    Args:
        report: where pytest wrote the status of the equations.
        chapters: the chapters that have a page; equations of others are linked to the list of all.
        source: address of a file in the repository, with ``{path}`` and ``{line}`` in it; none if empty.
    """

    def __init__(self, report: Path, chapters: set[str], source: str = "") -> None:
        super().__init__()
        equations()
        planted = report.parent / mutants.REPORT
        self.report, self.chapters, self.source = Report(report, planted), chapters, source
        self.shown: dict[str, int] = {}
        self.boxes: set[str] = set()
        self.page = ""  # the page being read, as the hook names it

    def extendMarkdown(self, md: Markdown) -> None:
        for block in (
            EquationBlock,
            CodeBlock,
            AnswerBlock,
            FigureBlock,
            ListBlock,
        ):  # below indented code, above whatever else reads a line
            md.parser.blockprocessors.register(block(md, self), f"book-{block.__name__}", 75)
        md.inlinePatterns.register(EquationLink(NAME, md, self), "book-link", 185)  # below backtick
        md.treeprocessors.register(Formulas(md), "book-formulas", 15)

    def target(self, known: Equation) -> str:
        """Where an equation stands: on the page of its chapter, or in the list of all."""
        page = known.chapter if known.chapter in self.chapters else "equations"
        return f"{page}.md#{known.name}"

    def missing(self) -> list[str]:
        """The equations that the page of their chapter leaves out or shows twice."""
        return [
            f"{known.name} stands {self.shown.get(known.name, 0)} times on the page of its chapter, not once"
            for known in equations()
            if known.chapter in self.chapters and self.shown.get(known.name) != 1
        ]


class Formulas(Treeprocessor):
    """What arithmatex marked as a formula becomes one."""

    def run(self, root: etree.Element) -> None:
        for element in root.iter():
            if element.get("class") == "arithmatex":
                tex = unescape("".join(element.itertext()))  # arithmatex hands displays over escaped
                formula = maths.render(tex[2:-2].strip(), display=tex.startswith("\\["))
                element[:] = []
                element.set("class", "math")
                element.text = self.md.htmlStash.store(formula)


class _Alone(BlockProcessor):
    """A block that consists of one thing."""

    pattern: re.Pattern[str]

    def __init__(self, md: Markdown, book: Book) -> None:
        super().__init__(md.parser)
        self.md, self.book = md, book

    def test(self, parent: etree.Element, block: str) -> bool:
        return bool(self.pattern.fullmatch(block.strip()))

    def run(self, parent: etree.Element, blocks: list[str]) -> None:
        found = self.pattern.fullmatch(blocks.pop(0).strip())
        assert found
        self.make(parent, *found.groups())

    def make(self, parent: etree.Element, *found: str) -> None:
        raise NotImplementedError

    def stash(self, parent: etree.Element, html: str) -> None:
        """Finished HTML, in an element of its own, since a stash must stand alone in a text."""
        etree.SubElement(parent, "div").text = self.md.htmlStash.store(html)


class EquationBlock(_Alone):
    """The formula, its number, its code, where it comes from and how it is checked."""

    pattern = re.compile(NAME)

    def make(self, parent: etree.Element, *found: str) -> None:
        known = find(found[0])
        block = etree.SubElement(parent, "div", {"class": "equation"})
        home = self.book.target(known)
        if home.startswith(f"{self.book.page}#"):  # elsewhere it is only quoted
            block.set("id", known.name)
            self.book.shown[known.name] = self.book.shown.get(known.name, 0) + 1
        head = etree.SubElement(block, "div", {"class": "equation-head"})
        self.stash(head, maths.render(known.latex, True))
        number = etree.SubElement(head, "a", {"class": "equation-number", "href": home})
        number.set("aria-label", f"Equation {known.number}, {known.name}")
        number.text = f"({known.number})"
        # Wrapped in <code>, for the theme makes that reachable by keyboard where it has to be scrolled.
        setting = HtmlFormatter(cssclass="highlight equation-code", wrapcode=True)
        self.stash(block, highlight(known.code, PythonLexer(), setting))
        notes = etree.SubElement(block, "div", {"class": "equation-notes"})
        etree.SubElement(notes, "p").text = " ".join(filter(None, (sources(known), origins(known))))
        self.checks(notes, known)

    def checks(self, notes: etree.Element, known: Equation) -> None:
        status, tests = self.book.report.status(known.name), self.book.report.tests(known.name)
        where = etree.SubElement(
            notes, "details" if tests else "p", {"class": f"status status-{status.replace(' ', '-')}"}
        )
        summary = etree.SubElement(where, "summary") if tests else where
        summary.text = self.book.report.sentence(known.name)
        rows = etree.SubElement(where, "ul") if tests else None
        for test in tests:
            path, _, name = test["id"].partition("::")
            row = etree.SubElement(rows, "li")
            words = f"{name.removeprefix('test_').replace('_', ' ')}"
            address = self.book.source.format(path=path, line=test["line"])
            row.text = f"[{words}]({address})" if address else f"{words} (`{path}`, line {test['line']})"


class CodeBlock(_Alone):
    """The source of a function, a method or a class, from the package itself."""

    pattern = re.compile(r"\[\[code:([\w.]+)\]\]")

    def make(self, parent: etree.Element, *found: str) -> None:
        try:
            shown = resolve_name(f"tinyddpm.{found[0]}")
        except (ImportError, AttributeError) as problem:
            raise ValueError(f"[[code:{found[0]}]]: {problem}") from None
        setting = HtmlFormatter(cssclass="language-python highlight", wrapcode=True)
        self.stash(parent, highlight(listing(shown), PythonLexer(), setting))


class AnswerBlock(_Alone):
    """An exercise whose answer is typed into the page."""

    pattern = re.compile(r"\[\[answer:([\w.]+)\]\]")

    def make(self, parent: etree.Element, *found: str) -> None:
        each = exercise(found[0])
        self.book.boxes.add(each.name)
        block = etree.SubElement(
            parent, "div", {"class": "answer", "id": f"answer-{each.name}", "data-answer": each.name}
        )
        etree.SubElement(etree.SubElement(block, "p", {"class": "answer-title"}), "strong").text = each.title
        for paragraph in each.statement.strip().split("\n\n"):
            etree.SubElement(block, "p").text = paragraph
        if each.start:
            setting = HtmlFormatter(cssclass="language-python highlight", wrapcode=True)
            code = f"def {each.function}({each.arguments}):\n{each.start.rstrip()}\n"
            self.stash(block, highlight(code, PythonLexer(), setting))
        self.stash(block, answers.html(each))


class EquationLink(InlineProcessor):
    """An equation inside a line: its number, with a link to it."""

    def __init__(self, pattern: str, md: Markdown, book: Book) -> None:
        super().__init__(pattern, md)
        self.book = book

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[etree.Element, int, int]:  # type: ignore[override]
        known = find(m[1])
        link = etree.Element("a", {"href": self.book.target(known), "class": "equation-link", "title": known.name})
        link.text = f"({known.number})"
        return link, m.start(0), m.end(0)


class FigureBlock(_Alone):
    """A figure drawn by the package, inside the page, so that it takes the page's colours."""

    pattern = re.compile(r"!\[([^\]]+)\]\(figure:(\w+)\.(\w+)\)(?:\s*\n\*(.+)\*)?", re.DOTALL)

    def make(self, parent: etree.Element, *found: str) -> None:
        alt, chapter, name, caption = found
        drawn = draw.drawings(chapter)
        if name not in drawn:
            raise ValueError(f"figure {chapter}.{name} is unknown; there are: {', '.join(sorted(drawn))}")
        figure = etree.SubElement(parent, "figure", {"class": "drawing"})
        label = escape(" ".join(alt.split()), quote=True)
        self.stash(figure, drawn[name].replace("<svg", f'<svg role="img" aria-label="{label}"', 1))
        if caption:
            etree.SubElement(figure, "figcaption").text = caption


class ListBlock(_Alone):
    """The lists: of all equations, of what follows from what, of the works cited, and of the letters."""

    names = ("equations", "equation-graph", "bibliography", "letters", "step-fields", "papers", "exercises")
    pattern = re.compile(rf"\[\[({'|'.join(names)})\]\]")

    def make(self, parent: etree.Element, *found: str) -> None:
        getattr(self, found[0].replace("-", "_"))(parent)

    def rows(self, parent: etree.Element, titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        """A table, whose cells are Markdown."""
        table = etree.SubElement(parent, "table")
        for kind, cells in (("th", titles), *(("td", row) for row in rows)):
            row = etree.SubElement(table if kind == "td" else etree.SubElement(table, "thead"), "tr")
            for text in cells:
                etree.SubElement(row, kind).text = text

    def letters(self, parent: etree.Element) -> None:
        for title, group in groupby(LETTERS.values(), lambda letter: letter.section):
            etree.SubElement(parent, "h3", {"id": slug(title)}).text = title
            shown = (
                (symbols(letter), f"`{letter.name}`", letter.meaning, ", ".join(allowed(letter)), letter.elsewhere)
                for letter in group
            )
            self.rows(parent, ("letter", "in the code", "what it is", "what it may be", "elsewhere"), shown)

    def step_fields(self, parent: etree.Element) -> None:
        rows = ((f"${latex}$", f"`step.{name}`", what, where) for name, (latex, what, where) in FIELDS.items())
        self.rows(parent, ("letter", "in the code", "what it is", "range"), rows)

    def papers(self, parent: etree.Element) -> None:
        titles = ("paper", "its letters in ours", "for $\\sqrt{\\bar\\alpha_t}$", "for $\\sqrt{1-\\bar\\alpha_t}$")
        links = {paper: ", back ".join(f"[[eq:{name}]]" for name in paper.ours) for paper in PAPERS}
        rows = ((p.name, f"{p.says}: {links[p]}", f"${p.signal}$", f"${p.noise}$") for p in PAPERS)
        self.rows(parent, titles, rows)

    def equations(self, parent: etree.Element) -> None:
        chapter, body = "", parent
        for known in equations():
            if known.chapter != chapter:
                chapter = known.chapter
                etree.SubElement(parent, "h2", {"id": chapter}).text = f"{known.number.partition('.')[0]} {chapter}"
                box = etree.SubElement(parent, "div", {"class": "equation-table"})
                table = etree.SubElement(box, "table", {"class": "equations"})  # a table with a class is not restyled
                row = etree.SubElement(etree.SubElement(table, "thead"), "tr")
                for title in ("no.", "function", "formula", "source", "state"):
                    etree.SubElement(row, "th").text = title
                body = etree.SubElement(table, "tbody")
            here = self.book.target(known).startswith("equations.md")
            row = etree.SubElement(body, "tr", {"id": known.name} if here else {})
            status = self.book.report.status(known.name)
            for text in (f"[[eq:{known.name}]]", f"`{known.name}`"):
                etree.SubElement(row, "td").text = text
            self.stash(etree.SubElement(row, "td"), maths.render(claim(known), False))
            etree.SubElement(row, "td").text = sources(known, "")
            etree.SubElement(row, "td", {"class": f"status status-{status.replace(' ', '-')}"}).text = status

    def exercises(self, parent: etree.Element) -> None:
        """All exercises, a table for each chapter; each has an address of its name."""
        for chapter, group in groupby(exercises(), lambda each: each.chapter):
            chosen = [*group]
            etree.SubElement(parent, "h2", {"id": chapter}).text = f"{CHAPTERS.index(chapter) + 1} {chapter}"
            hours = f"{sum(each.minutes for each in chosen) / 60:.1f}"
            lead = etree.SubElement(parent, "p")
            lead.text = f"{len(chosen)} exercises, {hours} hours. `tinyddpm exercises start {chapter}`"
            if self.book.source.startswith(GITHUB):  # a service that opens notebooks of public repositories
                notebook = self.book.source.format(path=f"notebooks/{chapter}.ipynb", line=1).partition("#")[0]
                lead.text += f", or [the notebook in Colab]({notebook.replace(GITHUB, COLAB)})"
            box = etree.SubElement(parent, "div", {"class": "equation-table"})
            table = etree.SubElement(box, "table", {"class": "equations"})
            head = etree.SubElement(etree.SubElement(table, "thead"), "tr")
            for title in ("exercise", "what is asked", "kind", "minutes", "needs"):
                etree.SubElement(head, "th").text = title
            body = etree.SubElement(table, "tbody")
            for each in chosen:
                row = etree.SubElement(body, "tr", {"id": each.name})
                needs = (f"[`{name}`](#{name})" for name in each.needs)
                libraries = (name for name in each.allowed if name != "tinyddpm")
                cells = (f"`{each.name}`", each.title, each.kind, str(each.minutes), ", ".join([*needs, *libraries]))
                for text in cells:
                    etree.SubElement(row, "td").text = text

    def equation_graph(self, parent: etree.Element) -> None:
        """The links in the drawing are for the page `equations.md`, one folder below the others."""

        def address(known: Equation) -> str:
            page, _, anchor = self.book.target(known).partition(".md#")
            return f"#{anchor}" if page == "equations" else f"../{page}/#{anchor}"

        box = etree.SubElement(parent, "div", {"class": "equation-graph", "tabindex": "0", "role": "group"})
        box.set("aria-label", "Which equation follows from which")
        self.stash(box, graph.svg(equations(), address, self.book.report.status))

    def bibliography(self, parent: etree.Element) -> None:
        for work in bibliography.REFERENCES.values():
            etree.SubElement(parent, "h2", {"id": work.anchor}).text = work.key
            link = f" [{work.url.removeprefix('https://')}]({work.url})" if work.url else ""
            etree.SubElement(parent, "p").text = work.text.removesuffix(f" {work.url}") + link
            cited = [known for known in equations() if work in bibliography.cite(known.source)]
            if cited:
                etree.SubElement(parent, "p").text = "Cited by " + ", ".join(f"[[eq:{k.name}]]" for k in cited) + "."
            self.stash(parent, f'<pre tabindex="0"><code>{escape(work.bibtex)}</code></pre>')


def slug(title: str) -> str:
    """The address of a heading."""
    return title.lower().replace(" ", "-")


def symbols(letter: Letter) -> str:
    """How formulas write a letter."""
    return ", ".join(f"${latex}$" for latex in letter.latex if latex)


def allowed(letter: Letter) -> list[str]:
    """What a letter may be, in words, as its argument says it where an equation says nothing else."""
    return [KINDS[letter.kind].replace("`", ""), *door.words(letter.kind, letter.domain)]


def claim(known: Equation) -> str:
    """The formula without the explanations that stand behind its `\\qquad`."""
    return known.latex.partition(r"\qquad")[0].strip().rstrip(",")


def sources(known: Equation, lead: str = "Source: ") -> str:
    """Where an equation is published, each work a link to the bibliography."""
    works = bibliography.cite(known.source)
    if not works:
        return "Derived here." if lead else "derived here"
    parts = [part.strip().partition(",") for part in known.source.split(";")]
    links = (
        f"[{key}](bibliography.md#{work.anchor}){comma}{place}"
        for (key, comma, place), work in zip(parts, works, strict=True)
    )
    return lead + "; ".join(links) + ("." if lead else "")


def origins(known: Equation) -> str:
    """What an equation is derived from, as links."""
    names = ", ".join(f"[[eq:{origin.name}]]" for origin in known.derived_from)
    return f"From {names}." if names else ""
