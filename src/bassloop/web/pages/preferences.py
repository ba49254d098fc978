"""Display preferences: colour scheme, light or dark, line wrapping, times.

They are stored in a cookie, and rendered as attributes of the page's root element, so that nothing flashes while it
loads. A script changes both. Without JavaScript, there is a form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, render_template, request

from bassloop.addresses import split_untrusted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COOKIE = "looks"
YEAR = 365 * 24 * 3600
MAX_COOKIE = 500
MAX_PATH = 500
MAX_QUERY = 1000

VALUES: dict[str, tuple[str, ...]] = {
    "scheme": ("system", "light", "dark"),
    "wrap": ("auto", "yes", "no"),
    "times": ("none", "relative", "absolute"),
    "internal": ("hidden", "shown"),
}
"""The values of each preference except for the theme. The first one is the default."""


def known_preferences(themes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the values of each preference, including these themes."""
    return {"theme": tuple(themes), **VALUES}


def read_cookie(cookie: str, known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the preferences in a cookie such as ``scheme-dark.theme-nord``, with defaults for the others."""
    preferences = {name: values[0] for name, values in known.items()}
    for part in cookie[:MAX_COOKIE].split("."):
        name, _, value = part.partition("-")
        if value in known.get(name, ()):
            preferences[name] = value
    return preferences


def write_cookie(preferences: Mapping[str, str]) -> str:
    """Return the cookie for these preferences."""
    return ".".join(f"{name}-{value}" for name, value in preferences.items())


def routes(themes: Sequence[str]) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("preferences", __name__)
    known = known_preferences(themes)

    @blueprint.get("/looks")
    async def form() -> str:
        """Show a form with the preferences."""
        back = _local_path(request.referrer or "")
        return await render_template("preferences.html", known=known, back=back)

    @blueprint.post("/looks")
    async def save() -> Response:
        """Save the form in the cookie, and go back."""
        form = await request.form
        preferences = read_cookie(request.cookies.get(COOKIE, ""), known)
        for name, values in known.items():
            if form.get(name) in values:
                preferences[name] = form[name]
        response = Response("", 303, headers={"Location": _local_path(form.get("back", ""))})
        cookie = write_cookie(preferences)
        response.set_cookie(COOKIE, cookie, max_age=YEAR, path="/", samesite="Lax")
        return response

    return blueprint


def _local_path(address: str) -> str:
    """Return the path and query of an address if it is safe to redirect to them; else the front page."""
    parts = split_untrusted(address)
    path = "/" + parts.path.lstrip("/\\")
    if len(path) > MAX_PATH or not path.isprintable() or "\\" in path or path == "/looks":
        return "/"
    return f"{path}?{parts.query}" if parts.query and len(parts.query) < MAX_QUERY else path
