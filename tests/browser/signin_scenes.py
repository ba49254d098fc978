"""Scenes of signing in and out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .page_scenes import texts

if TYPE_CHECKING:
    from playwright.sync_api import Page


def private(page: Page, address: str) -> dict[str, Any]:
    """A private run: as a stranger, signed in as who may read it (live), signed out, as another."""
    reader = os.environ["READER"]

    def picture(name: str) -> None:
        if folder := os.environ.get("PICTURES"):
            page.screenshot(path=f"{folder}/{name}.png")

    page.goto(address)
    stranger = page.inner_text("main")
    picture("stranger")
    page.click("main >> text=sign in")
    picture("authorize")
    page.click(f"text=Authorize as {reader}")
    page.wait_for_selector(".step:last-child .line >> text=tick 3")
    back = page.url
    offered = page.locator("main form[method=post]:visible").all_inner_texts()
    Path(os.environ["GATE"]).touch()
    page.wait_for_selector("article[data-live=no]")
    page.wait_for_selector(".step:last-child .lines >> text=tick 4")
    seen, menu = texts(page), page.inner_text(".menu")
    offered_after = page.locator("main form[method=post]:visible").all_inner_texts()
    picture("signed-in")
    page.click(f".menu >> text={reader}")
    picture("me")
    page.click("text=Sign out >> nth=0")
    page.wait_for_url("**/")
    page.goto(address)
    signed_out = page.inner_text("main")
    page.click("main >> text=sign in")
    page.click("text=Authorize as mallory")
    page.wait_for_selector(".menu >> text=mallory")
    return {
        "stranger": stranger,
        "back": back,
        "seen": seen,
        "offered": [offered, offered_after],
        "menu": menu,
        "signed_out": signed_out,
        "mallory": page.inner_text("main"),
    }
