"""Scenes of creating the App."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page


def create_app(page: Page, address: str) -> dict[str, Any]:
    """Make the App: our page, GitHub's, and ours again."""
    page.goto(address)
    asked = page.inner_text("main")
    if pictures := os.environ.get("PICTURES"):
        page.screenshot(path=f"{pictures}/create-app.png")
    page.click("text=Create it on GitHub")
    page.click("text=Create GitHub App for")
    page.wait_for_selector("text=Two things are left")
    if pictures:
        page.screenshot(path=f"{pictures}/created-app.png")
    links = page.eval_on_selector_all("main a", "all => all.map(each => each.href)")
    return {"asked": asked, "done": page.inner_text("main"), "links": links}
