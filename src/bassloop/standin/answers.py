"""Answers as GitHub gives them: JSON, pages of lists, errors."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from quart import Response, request

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCUMENTATION = "https://docs.github.com/rest"


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self) -> Response:
        """The answer."""
        said = {
            "message": str(self),
            "documentation_url": DOCUMENTATION,
            "status": str(self.status),
        }
        response = answer_json(said, self.status)
        response.headers.update(self.headers)
        return response


def answer_json(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    body = json.dumps(value).encode()
    return Response(body, status, content_type="application/json; charset=utf-8")


def page(items: Sequence[Any], key: str | None = None) -> Response:
    """The page of a list that was asked for, with a Link header to the next."""
    size = min(max(request.args.get("per_page", 30, int), 1), 100)
    number = max(request.args.get("page", 1, int), 1)
    start = (number - 1) * size
    shown = list(items[start : start + size])
    response = answer_json({"total_count": len(items), key: shown} if key else shown)
    if start + size < len(items):
        following = {**request.args, "per_page": size, "page": number + 1}
        link_next(response, f"{request.base_url}?{urlencode(following)}")
    return response


def link_next(response: Response, url: str) -> None:
    """Say where the next page is."""
    response.headers["Link"] = f'<{url}>; rel="next"'


async def tagged(response: Response) -> Response:
    """The answer with its ETag; 304 without a body when the caller has it already."""
    if request.method != "GET" or response.status_code != 200:
        return response
    body: bytes = await response.get_data(as_text=False)
    etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
    if request.headers.get("If-None-Match") == etag:
        response = Response(b"", 304)
    response.headers["ETag"] = etag
    return response


async def json_body() -> dict[str, Any]:
    """What was sent, which must be a JSON object."""
    body = await request.get_data(as_text=False)
    if not body:
        return {}
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "Problems parsing JSON") from error
    if not isinstance(data, dict):
        raise Refusal(400, "Body should be a JSON object")
    return data
