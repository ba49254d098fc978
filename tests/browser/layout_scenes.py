"""Scenes of how pages are laid out: columns, a phone, paper, more steps than fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .page_scenes import PHONE
from .scene_runner import report

if TYPE_CHECKING:
    from playwright.sync_api import Page

BOTTOM = "one => one.getBoundingClientRect().bottom"


def widths(page: Page, selector: str) -> list[float]:
    """Return the widths of some elements in pixels."""
    found: list[float] = page.eval_on_selector_all(
        selector, "all => all.map(one => one.getBoundingClientRect().width)"
    )
    return found


def list_on_desk(page: Page, address: str) -> dict[str, Any]:
    """A list of runs: where the columns begin."""
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(address)
    page.wait_for_selector("li.run time[title]")
    begins = {
        name: page.eval_on_selector_all(
            f"li.run .{name}", "all => all.map(one => Math.round(one.getBoundingClientRect().left))"
        )
        for name in ("word", "where", "who")
    }
    return {name: len(set(lefts)) for name, lefts in begins.items()}


def list_on_phone(page: Page, address: str) -> dict[str, Any]:
    """A list of runs on a phone."""
    page.set_viewport_size(PHONE)
    page.goto(address)
    page.wait_for_selector("li.run time[title]")
    tree = page.locator("ol.runs").aria_snapshot()
    return {"states": tree.count("failed"), "times": page.locator("li.run time:visible").count()}


def list_on_paper(page: Page, address: str) -> dict[str, Any]:
    """A list of runs on a sheet of A4."""
    page.set_viewport_size({"width": 794, "height": 1123})
    page.goto(address)
    page.emulate_media(media="print")
    return {
        "controls": page.locator("form:visible, button:visible, .menu:visible").count(),
        "narrowest": min(widths(page, "li.run .where")),
    }


def head_on_phone(page: Page, address: str) -> dict[str, Any]:
    """The bar of a run's page on a phone, before and after scrolling."""
    page.set_viewport_size(PHONE)
    page.goto(address)
    page.wait_for_selector(".step.bad .line")
    cut = page.eval_on_selector(".crumbs", "one => one.scrollWidth - one.clientWidth")
    bar = page.eval_on_selector(".top", BOTTOM)
    page.evaluate("scrollTo(0, 600)")
    page.wait_for_function("() => scrollY === 600")
    found = {
        "cut": cut,
        "smaller": page.eval_on_selector(".top", BOTTOM) < bar,
        "menu": page.eval_on_selector(".menu", BOTTOM) > 0,
        "place": page.eval_on_selector(".crumbs", BOTTOM) > 0,
    }
    page.click("#find-text")
    box = page.locator("#find").bounding_box()
    assert box is not None
    return {**found, "find": box["y"] >= 0 and box["width"] > 300}


def zoomed(page: Page, address: str) -> dict[str, Any]:
    """A run's page on a laptop with 200 % zoom, and then on paper."""
    page.set_viewport_size({"width": 683, "height": 384})
    page.goto(address)
    page.wait_for_selector(".facts time[title]")

    def box(selector: str) -> dict[str, float]:
        found: dict[str, float] = page.eval_on_selector(
            selector, "one => one.getBoundingClientRect().toJSON()"
        )
        return found

    menu, place, find = box(".menu"), box(".crumbs"), box("#find")
    page.set_viewport_size({"width": 794, "height": 1123})
    page.emulate_media(media="print")
    time, facts = box(".facts time"), box(".facts")
    return {
        "place below menu": place["top"] >= menu["bottom"],
        "search beside place": find["left"] >= place["right"] and find["top"] < place["bottom"],
        "time on paper": time["width"] > 100 and time["right"] <= facts["right"],
    }


def empty_list(page: Page, address: str) -> dict[str, Any]:
    """A list without runs."""
    page.goto(address)
    return {"lists": page.locator("ol.runs:visible").count(), "says": page.inner_text("#nothing")}


def many_steps(page: Page, address: str) -> dict[str, Any]:
    """A timeline of more steps than it draws."""
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(address)
    page.wait_for_selector(".step.bad .line")
    # As a function: what else is evaluated a second time is against the page's Content-Security-Policy.
    page.wait_for_function("() => document.querySelector('.room').scrollTop > 0")
    failed_in_room = page.evaluate(
        """() => {
            const [bar, room] = ["#bars .bad", ".room"].map(
                each => document.querySelector(each).getBoundingClientRect());
            return bar.top > room.top && bar.bottom < room.bottom;
        }"""
    )
    return {
        "failed in room": failed_in_room,
        "bars": page.locator("#bars .bar").count(),
        "note": page.inner_text("#time .note"),
    }


def log_on_paper(page: Page, address: str) -> dict[str, Any]:
    """A log of which only a part is on the page, on paper."""
    page.goto(address)
    page.wait_for_selector(".step.bad .line")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    note, first, last = page.evaluate(
        """() => {
            const log = document.querySelector(".step[open] .log");
            const numbers = [...log.querySelectorAll(".ln")].map(each => each.dataset.n);
            return [getComputedStyle(log, "::after").content, numbers[0], numbers.at(-1)];
        }"""
    )
    return {"note": note.strip('"'), "first": first, "last": last}


def timeline_on_paper(page: Page, address: str) -> dict[str, Any]:
    """A timeline that is taller than its room on the screen, there and on paper."""
    page.goto(address)
    page.wait_for_selector("#bars .bar")
    bars = page.locator("#bars .bar").count()
    hidden = "room => Math.max(0, room.scrollHeight - room.clientHeight)"
    on_screen = page.eval_on_selector(".room", hidden)
    page.emulate_media(media="print")
    on_paper = page.eval_on_selector(".room", hidden)
    return {"bars": bars, "cut on screen": on_screen > 0, "cut on paper": on_paper > 0}


def follows_steps(page: Page, address: str) -> dict[str, Any]:
    """A run that is followed from its middle until it fails: how much of what is seen jumps, beginning with the first
    frame. (Firefox doesn't say.)"""
    page.set_viewport_size({"width": 1366, "height": 768})
    page.add_init_script(
        """window.shift = 0;
        if (PerformanceObserver.supportedEntryTypes.includes("layout-shift"))
            new PerformanceObserver(list => {
                for (const entry of list.getEntries()) window.shift += entry.value;
            }).observe({type: "layout-shift", buffered: true});"""
    )
    page.goto(address)
    page.wait_for_function("scrollY > 0")
    report("following")
    page.wait_for_selector(".lines >> text=/^second 99$/")
    report("second")
    page.wait_for_selector("#failure >> text=there is no foo", state="attached")
    page.wait_for_selector("article[data-live=no]")
    # Everything that has changed is drawn when the second frame begins.
    for _ in range(2):
        page.wait_for_function("() => new Promise(done => requestAnimationFrame(() => done(true)))")
    end = page.eval_on_selector(".step:last-child .log", BOTTOM)
    return {"shift": page.evaluate("window.shift"), "at end": 0 < end <= 768}
