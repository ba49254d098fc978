"""How pages look to whoever looks: scheme, theme, wrapped lines, times.

A choice is kept in one cookie of the browser's and is in the page's root element from its first byte on,
so that nothing flashes. A script changes both; without one, there is a form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quart import Blueprint, Response, render_template, request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COOKIE = "looks"
YEAR = 365 * 24 * 3600

CHOICES: dict[str, tuple[str, ...]] = {
    "scheme": ("system", "light", "dark"),
    "wrap": ("auto", "yes", "no"),
    "times": ("none", "relative", "absolute"),
    "internal": ("hidden", "shown"),
}
"""What may be chosen beside the theme; the first is what nobody chose."""


def choices(themes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Everything that may be chosen, where these themes are."""
    return {"theme": tuple(themes), **CHOICES}


def looks_of(cookie: str, known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What a cookie has chosen (`scheme-dark.theme-nord`), and the first of what it has not."""
    looks = {name: values[0] for name, values in known.items()}
    for part in cookie[:500].split("."):
        name, _, value = part.partition("-")
        if value in known.get(name, ()):
            looks[name] = value
    return looks


def cookie_of(looks: Mapping[str, str]) -> str:
    """The looks as their cookie has them."""
    return ".".join(f"{name}-{value}" for name, value in looks.items())


def routes(themes: Sequence[str]) -> Blueprint:
    """The looks' routes."""
    blueprint = Blueprint("looks", __name__)
    known = choices(themes)

    @blueprint.get("/looks")
    async def choose() -> str:
        """A form that chooses them."""
        return await render_template(
            "preferences.html", known=known, back=_back(request.referrer or "")
        )

    @blueprint.post("/looks")
    async def chosen() -> Response:
        """Keep what a form chose, and go back. It changes nothing but the asking browser's cookie."""
        form = await request.form
        looks = looks_of(request.cookies.get(COOKIE, ""), known)
        for name, values in known.items():
            if form.get(name) in values:
                looks[name] = form[name]
        answer = Response("", 303, headers={"Location": _back(form.get("back", ""))})
        answer.set_cookie(COOKIE, cookie_of(looks), max_age=YEAR, path="/", samesite="Lax")
        return answer

    return blueprint


def _back(address: str) -> str:
    """Where a form came from, on this site: a path and nothing that leads elsewhere."""
    parts = urlsplit(address)
    path = "/" + parts.path.lstrip("/\\")
    if len(path) > 500 or not path.isprintable() or "\\" in path or path == "/looks":
        return "/"
    return f"{path}?{parts.query}" if parts.query and len(parts.query) < 1000 else path
