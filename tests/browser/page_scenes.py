"""Scenes of reading pages of runs."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .scene_runner import report

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route, ViewportSize

DESK: ViewportSize = {"width": 1200, "height": 1240}
PHONE: ViewportSize = {"width": 390, "height": 844}
LAST_LOG = ".step:last-child .lines .text"


def texts(page: Page, selector: str = LAST_LOG) -> list[str]:
    """The texts of some elements that are there."""
    found: list[str] = page.eval_on_selector_all(selector, "all => all.map(one => one.textContent)")
    return found


def live(page: Page, address: str) -> dict[str, Any]:
    """Follow a run to its end, and look again afterwards."""
    page.goto(address)
    page.wait_for_selector(".step:last-child .line >> text=tick 3")
    early = texts(page, ".step:last-child .text")
    page.reload()
    # The command goes on when it has been seen.
    Path(os.environ["GATE"]).touch()
    page.wait_for_selector("article[data-live=no]")
    page.wait_for_selector(".step:last-child .lines >> text=tick 9")
    late = texts(page)
    word = page.inner_text("#word")
    page.reload()
    page.locator(".step:last-child summary").click()
    page.wait_for_selector(".step:last-child .lines >> text=tick 9")
    return {"early": early, "late": late, "word": word, "afterwards": texts(page)}


def ended(page: Page, address: str) -> dict[str, Any]:
    """A failed run: what is seen first."""
    page.goto(address)
    page.wait_for_selector(".step.bad[open] .line")
    bars = page.eval_on_selector_all("#bars a", "all => all.map(one => one.getAttribute('href'))")
    page.click("#failure-link")
    page.wait_for_selector(".selected")
    return {
        "why": page.inner_text("#failure"),
        "bars": bars,
        "marked": texts(page, ".selected .text"),
    }


def failed(page: Page, address: str) -> dict[str, Any]:
    """A failed run of many steps: what is open, and how its timeline is used."""
    page.goto(address)
    page.wait_for_selector(".step.bad[open] .line.failing")
    opened = texts(page, ".step[open] > summary code")
    in_view = page.evaluate(
        """() => scrollY === 0 && ["h1", "#failure .failing", "#failure-show"].every(each =>
             document.querySelector(each).getBoundingClientRect().bottom < innerHeight)"""
    )
    page.keyboard.press("l")
    page.wait_for_selector(".step.bad .line.selected")
    in_log = texts(page, ".step.bad .line.selected .text")
    shown = page.locator(".step:visible").count()
    page.keyboard.press("i")
    with_internal = page.locator(".step:visible").count()
    page.evaluate("window.scrollTo(0, 0)")
    axis = texts(page, "#axis span")
    page.locator("#bars").evaluate("bars => bars.scrollIntoView({block: 'center'})")
    box = page.locator("#bars").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 62, steps=5)
    page.mouse.up()
    zoomed = texts(page, "#axis span")
    page.keyboard.press("0")
    unzoomed = texts(page, "#axis span")
    page.locator("#bars a[aria-label^=mypy]").click()
    page.wait_for_selector(".step[open] >> text=Success: no issues")
    return {
        "opened": opened,
        "in_view": in_view,
        "in_log": in_log,
        "internal": with_internal - shown,
        "axis": axis,
        "zoomed": zoomed,
        "unzoomed": unzoomed,
        "after": texts(page, ".step.bad .after code"),
    }


def silent(page: Page, address: str) -> dict[str, Any]:
    """A connection on which nothing arrives any more, although nobody has closed it."""
    page.goto(address)
    page.wait_for_selector(".lines >> text=one")
    page.wait_for_timeout(10_000)
    quiet = page.locator("#notice").is_hidden()
    report("open")
    began = page.evaluate("performance.now()")
    page.wait_for_selector("#notice:has-text('The connection is lost')")
    noticed = page.evaluate("performance.now()") - began
    report("lost")
    page.wait_for_selector("article[data-live=no]")
    return {"quiet": quiet, "noticed": noticed, "texts": texts(page)}


def killed(page: Page, address: str) -> dict[str, Any]:
    """A page whose server is killed, and started again."""
    page.goto(address)
    page.wait_for_selector(".lines >> text=line 1000")
    report("open")
    page.wait_for_selector("#notice:has-text('The connection is lost')")
    report("lost")
    page.wait_for_selector("article[data-live=no]")
    if page.locator(".step:last-child:not([open])").count():
        page.locator(".step:last-child summary").click()
    page.wait_for_selector(".step:last-child .lines .text")
    page.keyboard.press("G")
    page.wait_for_selector(".lines >> text=line 2000")
    return {
        "word": page.inner_text("#word"),
        "first": texts(page, ".step:first-child .lines .text"),
        "second": texts(page),
    }


def hidden(page: Page, address: str) -> dict[str, Any]:
    """A tab in the background, which gets no logs, says how the run stands, and catches up when it is seen."""
    page.add_init_script(
        """window.sockets = 0;
        window.received = [];
        const Plain = window.WebSocket;
        window.WebSocket = class extends Plain {
            constructor(...given) {
                super(...given);
                window.sockets++;
                this.addEventListener("message", event => window.received.push(String(event.data)));
            }
        };"""
    )
    hide = """hidden => {
        Object.defineProperty(document, "hidden", {get: () => hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.goto(address)
    page.wait_for_selector(".lines >> text=one")
    sockets = page.evaluate("window.sockets")
    page.evaluate(hide, True)
    page.wait_for_function("before => window.sockets > before", arg=sockets)
    page.wait_for_timeout(200)
    page.evaluate("window.received.length = 0")
    report("hidden")
    page.wait_for_selector("#word:text-is('succeeded')")
    title = page.title()[0]
    while_hidden = page.evaluate("[...window.received]")
    lines = texts(page, ".lines .text")
    page.evaluate(hide, False)
    page.wait_for_selector("article[data-live=no]")
    return {"while_hidden": while_hidden, "title": title, "lines": lines, "texts": texts(page)}


def stays_calm(page: Page, address: str) -> dict[str, Any]:
    """A log that is followed while it grows by more than a screen at a time: how much of what is seen jumps.
    (Firefox doesn't say.)"""
    page.goto(address)
    page.wait_for_selector(".lines >> text=line 0")
    page.keyboard.press("f")
    page.evaluate(
        """() => {
            window.shift = 0;
            if (PerformanceObserver.supportedEntryTypes.includes("layout-shift"))
                new PerformanceObserver(list => {
                    for (const entry of list.getEntries()) window.shift += entry.value;
                }).observe({type: "layout-shift"});
        }"""
    )
    for last in (150, 300, 450, 600, 750, 900, 1050, 1200):
        report(str(last))
        page.wait_for_selector(f".lines >> text=/^line {last}$/")
    page.wait_for_function("() => new Promise(done => requestAnimationFrame(() => done(true)))")
    return {"shift": page.evaluate("window.shift"), "scrolled": page.evaluate("scrollY")}


def fails(page: Page, address: str) -> dict[str, Any]:
    """A run that fails while its page is open."""
    page.goto(address)
    page.wait_for_selector(".lines >> text=compiling")
    hidden = page.locator("#failure").is_hidden()
    report("open")
    page.wait_for_selector("#failure >> text=there is no foo")
    page.wait_for_selector("article[data-live=no]")
    page.keyboard.press("l")
    page.wait_for_selector(".step .selected.failing")
    return {"hidden": hidden, "selected": texts(page, ".step .selected .text")}


def fails_at_a_bad_moment(page: Page, address: str) -> dict[str, Any]:
    """A run that fails while the server can't be reached for a moment: the card comes with a later try."""
    lost: list[str] = []

    def lose_the_first(route: Route) -> None:
        if len(lost) >= 3:
            route.continue_()
        else:
            lost.append(route.request.url)
            route.abort("connectionrefused")

    page.route("**/failure", lose_the_first)
    return {**fails(page, address), "lost": len(lost)}


def phone(page: Page, address: str) -> dict[str, Any]:
    """On a narrow screen."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(address)
    page.wait_for_selector(".step.bad[open] .line")
    wide = page.evaluate(
        "[...document.querySelectorAll('.lines .text')].some(one => one.scrollWidth > 390)"
    )
    page.click("#find-text")
    page.keyboard.type("two")
    page.wait_for_selector("#find-count:has-text('line')")
    beyond = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return {"beyond": beyond, "wide": wide}


def plain(page: Page, address: str) -> dict[str, Any]:
    """Without JavaScript."""
    page.goto(address)
    lines = page.locator(".step.bad .text").all_inner_texts()
    page.click("text=Display")
    page.select_option("select[name=scheme]", "dark")
    page.click("text=Save")
    page.wait_for_selector("html[data-scheme=dark]")
    return {"lines": lines, "back": page.url == address}


plain.plain = True  # type: ignore[attr-defined]


def wheel_up(page: Page, pixels: int) -> None:
    """Turn the wheel, and wait until the page has come to rest."""
    target = page.evaluate("scrollY") - pixels
    page.mouse.move(600, 400)
    page.mouse.wheel(0, -pixels)
    page.wait_for_function("target => scrollY === target", arg=target)


def place_on_screen(page: Page, line: int) -> float:
    """Return where a line's top is on the screen, in pixels, once a frame has been drawn."""
    drawn = """selector => new Promise(done => requestAnimationFrame(() => setTimeout(
        () => done(document.querySelector(selector).getBoundingClientRect().top))))"""
    return float(page.evaluate(drawn, f"[id$='-L{line}']"))


def followed(page: Page, address: str) -> dict[str, Any]:
    """A log that grows, is left and found again, over a connection that is lost."""
    page.goto(address)
    page.wait_for_selector(".lines >> text=line 300")
    at_end = page.eval_on_selector(
        ".line:last-child", "one => one.getBoundingClientRect().bottom <= innerHeight"
    )
    # A small turn of the wheel: the end is still on the screen, and lines that come must not bring it back.
    wheel_up(page, 40)
    # What the reader sees may not move. The place in the page may: the space for lines above is an estimate.
    place = place_on_screen(page, 290)
    page.wait_for_selector("#follow:visible")
    report("left")
    page.wait_for_selector("#follow:has-text('12 new lines')")
    moved = abs(place_on_screen(page, 290) - place)
    report("missed")
    page.wait_for_selector("#notice:has-text('The connection is lost')")
    report("lost")
    page.wait_for_selector("#follow:has-text('5,012 new lines')")
    page.click("#follow")
    page.wait_for_selector(".lines >> text=line 5312")
    report("found")
    page.wait_for_selector("article[data-live=no]")
    page.wait_for_selector(".lines >> text=line 5313")
    numbers, said = page.evaluate(
        """() => { const all = [...document.querySelectorAll(".lines > .line")];
             return [all.map(one => +one.querySelector(".ln").dataset.n),
                     all.map(one => one.querySelector(".text").textContent)]; }"""
    )
    page.keyboard.press("g")
    page.wait_for_selector(".lines >> text=line 1", state="attached")
    return {
        "at_end": at_end,
        "moved": moved,
        "numbers": numbers,
        "texts": said,
        "begins": texts(page, ".lines .line:first-child .text"),
        "word": page.inner_text("#word"),
        "hidden": page.locator("#follow").is_hidden() and page.locator("#notice").is_hidden(),
    }


def late(page: Page, address: str) -> dict[str, Any]:
    """A followed log whose first lines, which the page began with, arrive when its end is on the screen."""
    held: list[Route] = []
    is_held = True

    def hold(route: Route) -> None:
        if is_held:
            held.append(route)
        else:
            route.continue_()

    page.route("**/lines?*", hold)
    with page.expect_request("**/lines?*"):
        page.goto(address)
    page.wait_for_function("() => scrollY > 1000")
    wheel_up(page, 40)
    page.wait_for_selector("#follow:visible")
    place = place_on_screen(page, 1990)
    is_held = False
    for route in held:
        route.continue_()
    page.wait_for_load_state("networkidle")
    return {"held": len(held), "moved": abs(place_on_screen(page, 1990) - place)}


def keyboard(page: Page, address: str) -> dict[str, Any]:
    """Use the page without a mouse."""
    page.goto(address)
    page.wait_for_selector(".step.bad .line")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    keys = page.locator("dialog dt").count()
    page.keyboard.press("Escape")
    page.evaluate("window.scrollTo(0, 0)")
    visited = []
    for _ in range(3):
        page.keyboard.press("j")
        visited.append(page.evaluate("document.activeElement.querySelector('code').textContent"))
    page.keyboard.press("k")
    visited.append(page.evaluate("document.activeElement.querySelector('code').textContent"))
    schemes = []
    for _ in range(3):
        page.keyboard.press("d")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        schemes.append((page.evaluate("document.documentElement.dataset.scheme"), ground))
    page.keyboard.press("w")
    wraps = page.eval_on_selector(".lines .text", "one => getComputedStyle(one).whiteSpace")
    page.reload()
    kept = page.evaluate("document.documentElement.dataset.wrap")
    return {"keys": keys, "visited": visited, "schemes": schemes, "wraps": wraps, "kept": kept}


def common_keys(page: Page, address: str) -> dict[str, Any]:
    """Press the keys that every page has."""
    page.goto(address)
    page.wait_for_selector("#help:visible")
    page.keyboard.press("?")
    listed = page.locator("dialog[open] dt").all_inner_texts()
    page.keyboard.press("?")
    closed = [page.locator("dialog[open]").count()]
    page.click("#help")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    closed.append(page.locator("dialog[open]").count())
    page.keyboard.press("d")
    scheme = page.evaluate("document.documentElement.dataset.scheme")
    focused = []
    for key in ("j", "j", "k", "/", "?", "Escape"):
        page.keyboard.press(key)
        focused.append(
            page.evaluate("document.activeElement.name || document.activeElement.className")
        )
    return {"listed": listed, "closed": closed, "scheme": scheme, "focused": focused}


def accessible(page: Page, address: str) -> dict[str, Any]:
    """Return axe-core's findings on a page, in both schemes and on a narrow screen, and by how much it is wider than
    that. `COOKIE` is that of somebody who has signed in."""
    axe = Path(os.environ["AXE"]).read_text()
    if cookie := os.environ.get("COOKIE"):
        page.set_extra_http_headers({"cookie": cookie})
    found = []
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto(address)
        page.wait_for_load_state("networkidle")
        page.evaluate(axe)
        for violation in page.evaluate("axe.run()")["violations"]:
            places = [node["html"][:200] for node in violation["nodes"][:3]]
            found.append([width, scheme, violation["id"], violation["help"], places])
        beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if beyond > 0:
            found.append([width, scheme, "wider than the screen", beyond])
    return {"violations": found}


def replay(page: Page, address: str) -> dict[str, Any]:
    """A log that is replayed, and sought in."""
    page.goto(address)
    page.click("a[data-frames]")
    page.wait_for_selector("#replay-play:text-is('Pause')")
    page.click("#replay-play")
    page.locator("#replay-at").fill("1")
    sought = page.inner_text("#replay-screen .line:nth-child(2)").strip()
    page.select_option("#replay-speed", "16")
    page.click("#replay-play")
    page.wait_for_selector("#replay-play:text-is('Play')")
    played = page.locator("#replay-screen .text").all_inner_texts()
    page.evaluate(Path(os.environ["AXE"]).read_text())
    violations = [each["id"] for each in page.evaluate("axe.run()")["violations"]]
    return {"sought": sought, "played": played, "violations": violations}


def commit(page: Page, address: str) -> dict[str, Any]:
    """A commit's page, while one of its checks fails."""
    page.goto(address)
    before = texts(page, "li.run .word")
    page.focus("li.run a.name")
    report("open")
    page.wait_for_selector("li.run >> text=there is no foo")
    return {
        "before": before,
        "after": texts(page, "li.run .word"),
        "title": page.title()[0],
        "focused": page.evaluate("document.activeElement.textContent"),
    }


def pictures(page: Page, address: str) -> dict[str, Any]:
    """A failed run, on a desk in the light and in the dark, and on a phone."""
    folder = Path(os.environ["PICTURES"])
    page.clock.set_fixed_time(dt.datetime.fromtimestamp(float(os.environ["NOW"]), dt.UTC))
    for name, scheme, size in (
        ("run-light", "light", DESK),
        ("run-dark", "dark", DESK),
        ("run-phone", "light", PHONE),
    ):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        page.goto(address)
        page.wait_for_selector(".step.bad[open] .line.failing")
        page.screenshot(path=folder / f"{name}.png", animations="disabled")
    return {}
