"""Scenes of reading logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page


def visible_lines(page: Page) -> list[str]:
    """The texts of the lines that are on the screen."""
    found: list[str] = page.eval_on_selector_all(
        ".lines > .line",
        """all => all.filter(each => { const box = each.getBoundingClientRect();
             return box.bottom > 100 && box.top < innerHeight; })
             .map(each => each.querySelector(".text").textContent)""",
    )
    return found


def wait_for_line(page: Page, text: str) -> None:
    """Wait until a line is on the screen."""
    page.wait_for_function(
        """text => [...document.querySelectorAll(".lines > .line")].some(each => {
             const box = each.getBoundingClientRect();
             return box.bottom > 0 && box.top < innerHeight
               && each.querySelector(".text").textContent === text; })""",
        arg=text,
    )


def counted(page: Page) -> int:
    found: int = page.locator(".line").count()
    return found


def long_log(page: Page, address: str) -> dict[str, Any]:
    page.goto(address)
    page.wait_for_selector("#failure >> text=there is no foo")
    page.keyboard.press("l")
    wait_for_line(page, "foo.c:12:3: error: there is no foo")
    page.keyboard.press("g")
    wait_for_line(page, "line 1")
    page.evaluate(
        """() => { const box = document.querySelector(".step .log").getBoundingClientRect();
             window.scrollBy(0, box.top + box.height / 2 - innerHeight / 2); }"""
    )
    page.wait_for_function(
        """() => { const lines = document.querySelector(".lines").getBoundingClientRect();
             return lines.top < 0 && lines.bottom > innerHeight; }"""
    )
    middle = visible_lines(page)
    most = counted(page)
    height = page.evaluate("document.documentElement.scrollHeight")
    page.keyboard.press("G")
    wait_for_line(page, "foo.c:12:3: error: there is no foo")
    return {"middle": middle, "most": most, "height": height}


FIRST_LINE = """() => { const line = [...document.querySelectorAll(".lines > .line")].find(
  one => one.getBoundingClientRect().bottom > 100);
  return line ? +line.querySelector(".ln").dataset.n : -1; }"""
"""The number of the first line on the screen, below what covers it."""

REST = """() => new Promise(done => {
  let before = scrollY, calm = 0;
  const look = () => {
    calm = scrollY === before ? calm + 1 : 0;
    before = scrollY;
    if (calm > 30) done(true); else requestAnimationFrame(look);
  };
  look(); })"""
"""Waits until the page has stayed where it is for some frames, however long a frame takes."""


def read_on(page: Page, address: str) -> dict[str, Any]:
    page.goto(address)
    page.wait_for_selector("#failure >> text=there is no foo")
    page.keyboard.press("l")
    wait_for_line(page, "foo.c:12:3: error: there is no foo")
    page.keyboard.press("g")
    wait_for_line(page, "line 1")
    page.mouse.move(600, 500)
    texts: list[str] = []
    for _ in range(60):
        for text in visible_lines(page):
            if text not in texts:
                texts.append(text)
        before = page.evaluate(FIRST_LINE)
        page.mouse.wheel(0, 600)
        # A slow browser does two turns at once, and shows nothing in between.
        page.wait_for_function(f"before => ({FIRST_LINE})() >= before + 10", arg=before)
    page.evaluate(REST)
    resting = visible_lines(page)
    page.wait_for_timeout(400)
    return {"texts": texts, "rested": resting == visible_lines(page)}


def addresses(page: Page, address: str) -> dict[str, Any]:
    page.goto(address)
    wait_for_line(page, "line 123456")
    alone = page.locator(".selected .text").all_inner_texts()
    line = page.locator(".selected")
    box = line.bounding_box()
    assert box is not None
    row = page.get_attribute(".step", "data-row")
    page.click(f"#v{row}-L123460 .ln", modifiers=["Shift"])
    hash_now = page.evaluate("location.hash")
    some = page.locator(".selected .text").all_inner_texts()
    page.keyboard.press("y")
    page.wait_for_selector("#notice:has-text('Copied 5 lines')")
    copied = page.evaluate("navigator.clipboard.readText()")
    page.reload()
    wait_for_line(page, "line 123456")
    again = page.locator(".selected .text").all_inner_texts()
    page.click(f"#v{row}-L123458 .ln")
    return {
        "alone": alone,
        "in_view": 0 < box["y"] < 700,
        "hash": hash_now,
        "some": some,
        "copied": copied,
        "again": again,
        "last": page.evaluate("location.hash"),
        "row": row,
    }


def find(page: Page, address: str) -> dict[str, Any]:
    page.goto(address)
    page.wait_for_selector("#failure >> text=there is no foo")
    page.keyboard.press("l")
    wait_for_line(page, "foo.c:12:3: error: there is no foo")
    page.keyboard.press("Control+f")
    page.keyboard.type("LINE 2777")
    page.wait_for_selector("#find-count:has-text('111 lines')")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("^line 2999\\d$")
    page.check("#find-regex", force=True)
    page.wait_for_selector("#find-count:has-text('10 lines')")
    page.focus("#find-text")
    steps = []
    page.keyboard.press("Shift+Enter")
    wait_for_line(page, "line 29999")
    steps.append(page.inner_text("#find-count"))
    page.keyboard.press("Enter")
    wait_for_line(page, "line 29990")
    steps.append(page.inner_text("#find-count"))
    marked = page.evaluate(
        """() => [...CSS.highlights.get("found-current")].map(range => range.toString())"""
    )
    others = page.evaluate("CSS.highlights.get('found').size")
    page.fill("#find-text", "(")
    page.wait_for_selector("#find.error")
    wrong = page.inner_text("#find-count")
    return {"steps": steps, "marked": marked, "others": others, "wrong": wrong}


def find_late(page: Page, address: str) -> dict[str, Any]:
    """A match that the server finds only after several answers."""
    page.goto(address)
    page.evaluate(
        """() => { window.counts = [];
             new MutationObserver(() => counts.push(document.querySelector("#find-count").textContent))
               .observe(document.querySelector("#find-count"), {childList: true}); }"""
    )
    page.keyboard.press("/")
    page.keyboard.type("there is no foo")
    page.wait_for_selector("#find-count:has-text('1 line')")
    return {"counts": page.evaluate("counts")}


def folds(page: Page, address: str) -> dict[str, Any]:
    page.goto(address)
    head = page.locator(".line.group")
    head.wait_for()
    title = head.locator(".text").inner_text()
    hidden = page.locator("text=worker gw1").count()
    head.locator(".fold").click()
    page.wait_for_selector("text=worker gw1")
    pause = page.locator(".line.pause").get_attribute("data-gap")
    numbers = page.eval_on_selector_all(".lines .ln", "all => all.map(each => +each.dataset.n)")
    page.keyboard.press("z")
    page.wait_for_selector("text=worker gw1", state="detached")
    row = page.get_attribute(".step.bad", "data-row")
    page.goto(f"{address}#v{row}-L9")
    page.wait_for_selector(".selected:has-text('worker gw1')")
    return {"title": title, "hidden": hidden, "pause": pause, "numbers": numbers}


def stamps(page: Page, address: str) -> dict[str, Any]:
    page.goto(address)
    page.wait_for_selector(".step.bad .line")
    found = {}
    for form in ("relative", "absolute"):
        page.keyboard.press("t")
        page.wait_for_selector(f".step.bad .line[data-time-format={form}]")
        found[form] = page.eval_on_selector(".step.bad .line", "line => line.dataset.time")
    page.reload()
    found["kept"] = page.evaluate("document.documentElement.dataset.times")
    page.keyboard.press("t")
    found["none"] = page.evaluate("document.documentElement.dataset.times")
    return found


def errors(page: Page, address: str) -> dict[str, Any]:
    page.goto(address)
    page.wait_for_selector(".step.bad .line")
    page.keyboard.press("g")
    found = []
    for key in ("e", "e", "E", "e", "e"):
        before = page.evaluate("location.hash + document.querySelector('#notice').textContent")
        page.keyboard.press(key)
        page.wait_for_function(
            "before => location.hash + document.querySelector('#notice').textContent !== before",
            arg=before,
        )
        found.append(page.locator(".selected .text").all_inner_texts()[0][:9].strip())
    return {"found": found, "said": page.inner_text("#notice")}


def hostile(page: Page, address: str) -> dict[str, Any]:
    page.goto(address)
    page.locator(".step summary").first.click()
    wait_for_line(page, "after it all")
    page.locator(".show-all").click()
    links = page.eval_on_selector_all(
        ".log .text a:not(.raw-log)", "all => all.map(each => each.href)"
    )
    rest = page.locator(".raw-log").get_attribute("href")
    return {
        "title": page.title(),
        "alive": page.locator(".log script, .log img").count(),
        "links": links,
        "rest": rest,
        "bidi": page.evaluate("/[\\u202a-\\u202e\\u2066-\\u2069]/.test(document.body.innerText)"),
        "width": page.evaluate("document.documentElement.scrollWidth"),
    }


def markers(page: Page, address: str) -> dict[str, Any]:
    """Nested groups, sections and workflow commands."""
    page.goto(address)
    page.locator(".step summary").first.click()
    page.wait_for_selector(".line.group.folded >> text=Install")
    before = page.locator(".lines .text").all_inner_texts()
    page.locator(".line.group:has-text('Install') .fold").click()
    page.wait_for_selector(".line.group.folded >> text=nested")
    between = page.locator(".lines .text").all_inner_texts()
    page.locator(".line.group:has-text('nested') .fold").click()
    page.wait_for_selector("text=deep inside")
    shift = page.locator(".line.group:has-text('nested') .title").evaluate(
        "title => getComputedStyle(title).paddingLeft"
    )
    command = page.locator(".command.error")
    return {
        "before": before,
        "between": between,
        "shift": float(shift.removesuffix("px")),
        "command": command.inner_text(),
        # Firefox says what the style is, Chromium what comes of it.
        "place": command.evaluate(
            "each => getComputedStyle(each, '::after').content"
            ".replace('attr(data-place)', each.dataset.place).replaceAll('\"', '')"
        ),
    }
