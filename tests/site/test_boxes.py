"""The answer boxes of the built site: by keyboard, on a phone, for everybody, without JavaScript."""

# ruff: noqa: RUF001 (letters as readers type them)

import re

import pytest

NAME = "posterior.mean"
RIGHT = r"\frac{\sqrt{\bar\alpha_{t-1}} \beta_t}{1-\bar\alpha_t} x_0 + √α (1-ᾱₜ₋₁)/noise_var x_t"
WRONG = "(sqrt(alpha_bar_prev) beta x_0 + alpha noise_var_prev x_t)/noise_var"


@pytest.fixture
def box(page, address):
    """The box of the mean in chapter 2."""
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(f"{address}posterior/", wait_until="load")
    return page.locator(f"[data-answer='{NAME}']")


def test_by_keyboard_alone(page, box):
    entry = box.get_by_label("Your formula")
    assert not [url for url in page.asked if url.endswith(".json") and "answers" in url]
    entry.focus()
    page.keyboard.type(WRONG)
    box.locator(".answer-shown math mfrac").wait_for()
    assert [url for url in page.asked if "answers" in url and url.endswith(f"answers/{NAME}.json")]
    page.keyboard.press("Enter")
    said = box.get_by_role("status")
    said.get_by_text("Not right at t = 2 of betas 0.1, 0.2, 0.3, 0.4, 0.5:").wait_for()
    text = re.sub(r"\s+", " ", said.inner_text())
    assert "alpha 0.8" in text and "x_t 1" in text and "expected 0.31" in text and "got 0.28" in text
    assert "It equals the book's without the square root of alpha." in text
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(RIGHT)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Check"
    page.keyboard.press("Space")
    said.get_by_text("Right: it agrees with the book on 19 examples, t = 1 among them.").wait_for()
    for _ in range(12):  # on through the letters and out again
        page.keyboard.press("Tab")
    assert not page.evaluate(f"!!document.activeElement.closest('[data-answer=\"{NAME}\"]')")
    assert page.wrong == []


def test_a_mistake_is_shown_at_its_place(page, box):
    box.get_by_label("Your formula").fill("x_t + gamma")
    mark = box.locator(".answer-shown mark")
    mark.wait_for()
    assert mark.inner_text() == "gamma"
    box.get_by_role("button", name="Check").click()
    box.get_by_role("status").get_by_text("At place 7: there is no letter “gamma” here.").wait_for()
    assert box.get_by_label("Your formula").get_attribute("aria-invalid") == "true"


def test_what_is_typed_is_never_run(page, box):
    entry = box.get_by_label("Your formula")
    for text in ("<img src=x onerror=alert(1)>", "</math><script>alert(1)</script>", "constructor.constructor(1)"):
        entry.fill(text)
        box.locator(".answer-shown mark").wait_for()
        assert box.locator("img, script").count() == 0
    assert page.wrong == []


def test_on_a_phone_the_letters_are_tapped(page, box):
    page.set_viewport_size({"width": 390, "height": 800})
    for letter in ("noise_var_prev", "beta"):
        box.locator(f"button[data-insert='{letter}']").click()
    entry = box.get_by_label("Your formula")
    assert entry.input_value() == "noise_var_prev beta"
    entry.fill(f"{RIGHT} + {RIGHT} + {WRONG}")
    box.locator(".answer-shown math").wait_for()
    box.get_by_role("button", name="Check").click()
    box.get_by_role("status").get_by_text("Not right").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert float(page.evaluate("e => parseFloat(getComputedStyle(e).fontSize)", entry.element_handle())) >= 16


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("text", [RIGHT, WRONG, "x_t + gamma"])
def test_everybody_can_use_it(browser, address, scheme, text):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = browser.new_page(color_scheme=scheme)
    page.goto(f"{address}posterior/", wait_until="load")
    box = page.locator(f"[data-answer='{NAME}']")
    box.get_by_label("Your formula").fill(text)
    box.locator(".answer-shown :is(math, mark)").first.wait_for()
    box.get_by_role("button", name="Check").click()
    box.locator(".answer-said p").first.wait_for()
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)  # until the button's colours have changed back
    found = axe.run(page, context={"include": [[".answer"]], "exclude": [[".katex"]]}).response["violations"]
    page.close()
    assert [
        f"{v['id']}: {node['html'][:200]} {node['failureSummary'][:300]}" for v in found for node in v["nodes"]
    ] == []


def test_without_javascript_it_says_what_to_do(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}posterior/")
    box = page.locator(f"[data-answer='{NAME}']")
    assert "tinyddpm exercises start posterior" in box.inner_text() and not box.locator("form").is_visible()
    context.close()


def test_values_that_do_not_come_are_said(page, box):
    page.route("**/answers/*.json", lambda route: route.abort())
    box.get_by_label("Your formula").focus()
    box.get_by_role("status").get_by_text("The values of this box could not be loaded").wait_for()
