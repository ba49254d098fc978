"""Scenes of having a run verified by a trusted runner."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

BUTTON = "main form[method=post]:visible >> text=Run on a trusted runner"


def sign_in(page: Page, login: str) -> None:
    """Sign in on a page, and come back to it."""
    page.click(".menu >> text=Sign in")
    page.click(f"text=Authorize as {login}")
    page.wait_for_selector(f".menu >> text={login}")


def pressed_live(page: Page, address: str) -> dict[str, Any]:
    """A run's page while the run ends, and its commit's page, by a maintainer with the keyboard alone."""
    page.goto(address)
    sign_in(page, os.environ["MAINTAINER"])
    page.wait_for_selector(".step:last-child .line >> text=started")
    before = buttons(page)
    # The button under the keyboard's focus when the run ends stays the same element.
    page.locator("form.when-ended button").first.evaluate("each => { each.dataset.same = 'yes' }")
    Path(os.environ["GATE"]).touch()
    page.wait_for_selector(BUTTON)
    after = buttons(page)
    kept = page.locator("button[data-same=yes]:visible").count()
    tokens = page.eval_on_selector_all("main [name=csrf]", "all => all.map(one => one.value)")
    page.click("nav a.sha, .crumbs a.sha >> nth=0")
    page.wait_for_selector(BUTTON)
    commit = page.url
    page.locator(BUTTON).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Earlier runs")
    page.wait_for_selector(".head.ok")
    return {
        "before": before,
        "after": after,
        "kept": kept,
        "tokens": len(set(tokens)),
        "commit": commit == page.url,
        "checks": page.locator(".runs").first.inner_text(),
    }


def buttons(page: Page) -> list[str]:
    """Return the labels of the buttons that are shown."""
    return page.locator("main form[method=post]:visible").all_inner_texts()


def pressed(page: Page, address: str) -> dict[str, Any]:
    """A run's page: as a stranger, as who may only read, and as a maintainer, who presses the button."""
    page.goto(address)
    stranger = page.locator(BUTTON).count()
    sign_in(page, "reader")
    reader = page.locator(BUTTON).count()
    # A form of theirs, bent to what their page doesn't offer.
    page.click(".menu >> text=reader")
    form = page.locator("form[action='/sign-out']")
    form.evaluate("(form, action) => { form.action = action; form.submit() }", f"{address}/verify")
    page.wait_for_url("**/verify")
    forged = page.inner_text("main")
    page.context.clear_cookies()
    page.goto(address)
    sign_in(page, os.environ["MAINTAINER"])
    maintainer = page.locator(BUTTON).count()
    page.click(BUTTON)
    page.wait_for_url(lambda url: "/runs/" in url and url != address)
    page.wait_for_selector("article[data-live=no]")
    page.wait_for_selector("#verdict:visible")
    live = page.inner_text("#verdict")
    page.reload()
    said = page.inner_text("main")
    links = page.eval_on_selector_all("#verdict a", "all => all.map(one => one.href)")
    page.goto(address)
    return {
        "buttons": [stranger, reader, maintainer, page.locator(BUTTON).count()],
        "forged": forged,
        "live": live,
        "said": said,
        "links": links,
    }
