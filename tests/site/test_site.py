"""The built site as a reader meets it: every page in a browser that may reach nothing else."""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlparse

import pytest

SITE = Path(__file__).resolve().parents[2] / "site"
DOCS = SITE.parent / "docs"
PAGES = ["", *sorted(f"{page.stem}/" for page in DOCS.glob("*.md") if page.stem != "index")]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_alone_and_its_formulas_are_set(page, address, path):
    page.goto(address + path, wait_until="load")
    text = page.inner_text("body")
    # Code may show the sources of formulas; the text of the page may not.
    prose = page.evaluate(
        "() => { const b = document.body.cloneNode(true);"
        " b.querySelectorAll('pre, code, annotation, script, style').forEach(e => e.remove()); return b.textContent }"
    )
    left = re.findall(r"\\\(|\\\[|\$\$|\[\[\w+|&?amp;|&lt;", prose)
    assert page.wrong == [] and left == [] and page.locator(".katex-error").count() == 0
    assert len(text) > 200


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_does_not_scroll_sideways(page, address, path):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(address + path, wait_until="load")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("path", PAGES)
def test_everybody_can_read_it(page, address, path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # What KaTeX sets, and what is drawn, is thousands of parts in the colour of the text around them; the theme calls
    # the copy button of each code block a landmark.
    context = {"exclude": [[".katex"], ["figure svg"], [".md-code__nav"]]}
    page.goto(address + path, wait_until="load")
    found = axe.run(page, context=context).response["violations"]
    dark = page.context.browser.new_page(color_scheme="dark")
    dark.goto(address + path, wait_until="load")
    assert dark.evaluate("document.body.dataset.mdColorScheme") == "slate"
    found += axe.run(dark, context=context, options={"runOnly": ["color-contrast"]}).response["violations"]
    dark.close()
    assert [
        f"{v['id']}: {node['html'][:200]} {node['failureSummary'][:300]}" for v in found for node in v["nodes"]
    ] == []


def test_an_equation_is_found_by_its_name(page, address):
    page.goto(address, wait_until="load")
    page.focus("input.md-search__input")
    page.keyboard.type("posterior.mean")  # letter by letter: what is put in all at once is sometimes overlooked
    page.wait_for_selector(".md-search-result__item")
    found = page.eval_on_selector_all(".md-search-result__link", "links => links.map(link => link.href)")
    assert any("#tinyddpm.posterior.mean" in link for link in found), found


class Links(HTMLParser):
    """What a page links to, and the anchors it has."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if values.get("id"):
            assert values["id"] not in self.anchors, f"two elements are called {values['id']}"
            self.anchors.add(values["id"])
        for name in ("href", "src", "xlink:href"):
            if tag != "link" and values.get(name):
                self.targets.append(values[name])


@cache
def links(file):
    return Links(file.read_text("utf-8"))


@pytest.mark.parametrize("path", PAGES)
def test_every_link_leads_somewhere(site, path):
    broken = []
    for target in links(site / path / "index.html").targets:
        where = urlparse(urljoin(f"http://site/{path}", target))
        if where.netloc != "site" or where.scheme != "http":
            continue
        file = site / unquote(where.path).lstrip("/")
        file = file / "index.html" if file.is_dir() else file
        anchor = unquote(where.fragment)
        if not file.is_file() or (anchor and file.suffix == ".html" and anchor not in links(file).anchors):
            broken.append(target)
    assert broken == []
