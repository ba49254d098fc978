"""A page in Chromium, in a process of its own: `look ADDRESS SCENE`, what was found as JSON.

trio-asyncio has the tests' own asyncio in its hands, so Playwright can't share their process.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]


def lines(page: Page) -> list[str]:
    """The texts of the lines that are there."""
    found: list[str] = page.eval_on_selector_all(
        ".vertex:last-child .text", "all => all.map(each => each.textContent)"
    )
    return found


def live(page: Page, address: str) -> dict[str, Any]:
    """Follow a run to its end, and look again afterwards."""
    page.goto(address)
    page.wait_for_selector(".vertex:last-child .line >> text=tick 3")
    early = lines(page)
    page.reload()
    # The command goes on when it has been seen.
    Path(os.environ["GATE"]).touch()
    page.wait_for_selector("article[data-live=no]")
    late = lines(page)
    word = page.inner_text("#word")
    page.reload()
    return {"early": early, "late": late, "word": word, "afterwards": lines(page)}


def ended(page: Page, address: str) -> dict[str, Any]:
    """A failed run: what is seen first, and at a line's own address."""
    page.goto(address)
    why = page.inner_text("#why")
    opened = page.eval_on_selector(".vertex.bad", "step => step.open")
    line = page.get_attribute(".vertex.bad .line:last-child", "id")
    page.goto(f"{address}#{line}")
    page.reload()
    marked = page.eval_on_selector(".line:target .text", "text => text.textContent")
    return {"why": why, "opened": opened, "marked": marked}


def phone(page: Page, address: str) -> dict[str, Any]:
    """On a narrow screen."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(address)
    return {"width": page.evaluate("document.documentElement.scrollWidth")}


def plain(page: Page, address: str) -> dict[str, Any]:
    """Without JavaScript."""
    page.goto(address)
    return {"lines": page.locator(".vertex.bad .text").all_inner_texts()}


def create_app(page: Page, address: str) -> dict[str, Any]:
    """Make the App: our page, GitHub's, and ours again."""
    page.goto(address)
    asked = page.inner_text("main")
    if pictures := os.environ.get("PICTURES"):
        page.screenshot(path=f"{pictures}/create-app.png")
    page.click("text=Make it on GitHub")
    page.click("text=Create GitHub App for")
    page.wait_for_selector("text=Two things are left")
    if pictures:
        page.screenshot(path=f"{pictures}/created-app.png")
    links = page.eval_on_selector_all("main a", "all => all.map(each => each.href)")
    return {"asked": asked, "done": page.inner_text("main"), "links": links}


SCENES = {
    "live": live,
    "ended": ended,
    "phone": phone,
    "plain": plain,
    "create_app": create_app,
}


def main(address: str, scene: str) -> None:
    """Open Chromium, play the scene, print what was found, and what the console complained of."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    complaints: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(java_script_enabled=scene != "plain")
        page.set_default_timeout(120_000)
        page.on(
            "console", lambda said: complaints.append(said.text) if said.type == "error" else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        found = SCENES[scene](page, address)
        browser.close()
    print(json.dumps({**found, "complaints": complaints}))


if __name__ == "__main__":
    main(*sys.argv[1:])
