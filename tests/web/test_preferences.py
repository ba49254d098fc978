"""Display preferences: chosen once, kept in a cookie, applied from a page's first byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bassloop.web.pages.preferences import VALUES, known_preferences, read_cookie, write_cookie

from .site import HOSTILE, open_site

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = known_preferences(["bass", "nord"])


def test_a_cookie_round_trips() -> None:
    looks = {
        "theme": "nord",
        "scheme": "dark",
        "wrap": "no",
        "times": "relative",
        "internal": "shown",
    }
    assert read_cookie(write_cookie(looks), KNOWN) == looks


@pytest.mark.parametrize(
    "cookie", ["", HOSTILE, "scheme-pink.theme-none", ".", "scheme", "-" * 9999]
)
def test_invalid_preferences_are_ignored(cookie: str) -> None:
    assert read_cookie(cookie, KNOWN) == {
        "theme": "bass",
        **{name: v[0] for name, v in VALUES.items()},
    }


async def test_a_page_has_its_colour_scheme_from_the_start(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        page = await (await site.get("/", cookie="looks=scheme-dark.theme-nord")).get_data(
            as_text=True
        )
        assert 'data-scheme="dark" data-theme="nord"' in page
        assert '<meta name="color-scheme" content="dark">' in page
        assert 'data-scheme="system" data-theme="bass"' in await site.text("/")


async def test_preferences_are_set_by_a_form_without_javascript(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        form = await (
            await site.get("/looks", referer="http://localhost/runs?state=failed")
        ).get_data(as_text=True)
        assert 'value="/runs?state=failed"' in form
        answer = await site.app.test_client().post(
            "/looks",
            form={"scheme": "dark", "theme": "nord", "wrap": HOSTILE, "back": "/runs?state=failed"},
        )
        assert answer.status_code == 303
        assert answer.headers["Location"] == "/runs?state=failed"
        assert "looks=theme-nord.scheme-dark.wrap-auto" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("back", "there"),
    [
        ("https://evil.example/x", "/x"),
        ("//evil.example/x", "/x"),
        ("///evil.example", "/evil.example"),
        ("/\\evil.example", "/evil.example"),
        ("/a\\b", "/"),
        ("javascript:alert(1)", "/alert(1)"),
        ("/looks", "/"),
        ("http://[", "/"),
        ("", "/"),
    ],
)
async def test_a_form_leads_back_to_this_site_only(tmp_path: Path, back: str, there: str) -> None:
    async with open_site(tmp_path) as site:
        answer = await site.app.test_client().post("/looks", form={"back": back})
        assert answer.headers["Location"] == there
        assert (await site.get("/looks", Referer=back)).status_code == 200


async def test_static_files_are_cached_forever_and_pages_are_not_cached(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        page = await site.get("/")
        assert page.headers["Cache-Control"] == "no-store"
        text = await page.get_data(as_text=True)
        for address in [part.split('"')[0] for part in text.split('href="/static/')[1:]]:
            answer = await site.get(f"/static/{address}")
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert (await site.get("/static/0/base.css")).status_code == 404
