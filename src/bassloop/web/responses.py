"""Helpers for responses that several pages share."""

from __future__ import annotations

from typing import Any, NoReturn
from urllib.parse import quote

from jinja2 import Environment, PackageLoader
from quart import Response, abort, request

IMMUTABLE = "public, max-age=31536000, immutable"
"""Cache-Control of addresses that change with their content."""

DOWNLOAD_SECONDS = 3600.0
"""How long a visitor may take to download a file."""

_documents = Environment(
    loader=PackageLoader("bassloop.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def render_document(template: str, **variables: Any) -> str:
    """Render a picture or a feed: a template that shows every visitor the same."""
    return _documents.get_template(template).render(variables) + "\n"


def wants_json() -> bool:
    """Tell whether the client prefers JSON to HTML."""
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def abort_not_found(what: str) -> NoReturn:
    """Abort with 404, in the same words for what doesn't exist and for what the visitor may not see."""
    abort(404, f"there is no such {what}, or you don't have access to it")


def download_headers(name: str) -> dict[str, str]:
    """Return the headers of a stranger's file, which a browser saves under a name and never shows."""
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name[-200:])}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }


async def revalidated(response: Response) -> Response:
    """Return the response with an ETag, or 304 if the client has it already."""
    await response.add_etag()
    await response.make_conditional(request)
    return response
