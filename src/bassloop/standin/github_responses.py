"""Responses as GitHub gives them: JSON, pages of lists, errors, ETags."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import Response, request

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCUMENTATION = "https://docs.github.com/rest"


class CallRefused(Exception):
    """A call that is refused; `response` is what the caller gets."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> Response:
        """Return the response."""
        body = {
            "message": str(self),
            "documentation_url": DOCUMENTATION,
            "status": str(self.status),
        }
        response = json_response(body, self.status)
        response.headers.update(self.headers)
        return response


def json_response(value: Any, status: int = 200) -> Response:
    """Return a JSON response."""
    body = json.dumps(value).encode()
    return Response(body, status, content_type="application/json; charset=utf-8")


def page(items: Sequence[Any], key: str | None = None) -> Response:
    """Return the requested page of a list, with a Link header to the next."""
    size = min(max(request.args.get("per_page", 30, int), 1), 100)
    number = max(request.args.get("page", 1, int), 1)
    start = (number - 1) * size
    shown = list(items[start : start + size])
    response = json_response({"total_count": len(items), key: shown} if key else shown)
    if start + size < len(items):
        next_query = {**request.args, "per_page": size, "page": number + 1}
        link_next(response, f"{request.base_url}?{urlencode(next_query)}")
    return response


def link_next(response: Response, url: str) -> None:
    """Add the header with the URL of the next page."""
    response.headers["Link"] = f'<{url}>; rel="next"'


async def tagged(response: Response) -> Response:
    """Return a response with its ETag, or 304 without a body when the caller has it already."""
    if request.method != "GET" or response.status_code != 200:
        return response
    body: bytes = await response.get_data(as_text=False)
    etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
    if request.headers.get("If-None-Match") == etag:
        response = Response(b"", 304)
    response.headers["ETag"] = etag
    return response


async def json_body() -> dict[str, Any]:
    """Return the JSON object that was sent. Refuses anything else."""
    body = await request.get_data(as_text=False)
    if not body:
        return {}
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CallRefused(400, "Problems parsing JSON") from error
    if not isinstance(data, dict):
        raise CallRefused(400, "Body should be a JSON object")
    return data
