"""When each line that begins with "tick" came into a page's document: `browse CHROMIUM ADDRESS`, in JSON."""

from __future__ import annotations

import json
import sys

from playwright.sync_api import sync_playwright

WATCH = """() => {
  window.ticks = {};
  const look = () => {
    const at = (performance.timeOrigin + performance.now()) * 1e6;
    for (const line of document.querySelectorAll(".text"))
      if (line.textContent.startsWith("tick")) window.ticks[line.textContent] ??= at;
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
}"""


def main(chromium: str, address: str) -> None:
    """Open the page, wait for the end of its run, and print what was seen when."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        page = browser.new_page()
        page.goto(address)
        page.evaluate(WATCH)
        page.wait_for_selector("article[data-live=no]", timeout=60_000)
        print(json.dumps(page.evaluate("window.ticks")))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
