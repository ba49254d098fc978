"""Downloads of artifacts, the files that are kept with a run."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, abort, jsonify, request
from quart.wrappers.response import ResponseBody

from bassloop.web.guard import visible_run
from bassloop.web.presentation import instant
from bassloop.web.responses import DOWNLOAD_SECONDS, abort_not_found, download_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from werkzeug.datastructures import Range

    from bassloop.store import Artifact, Store
    from bassloop.web.web_context import WebContext


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("artifact_download", __name__)
    artifacts = context.store.artifacts

    @blueprint.get("/runs/<run_id>/artifacts")
    async def listing(run_id: str) -> Response:
        """List the artifacts of a run, also those that have expired."""
        if await visible_run(context, run_id) is None:
            abort_not_found("run")
        found = await artifacts.of_run(run_id)
        return jsonify({"artifacts": [artifact_json(each) for each in found]})

    @blueprint.get("/runs/<run_id>/artifacts/<path:path>")
    async def artifact(run_id: str, path: str) -> Response:
        """Send an artifact, or the range of it that is asked for: a download that broke off goes on so."""
        run = await visible_run(context, run_id)
        found = await artifacts.get(run_id, path[:1_000]) if run is not None else None
        if found is None:
            abort_not_found("artifact")
        if not found.kept:
            abort(410, f"{found.path} has expired: run the check again to make another one")
        headers = {
            **download_headers(PurePosixPath(found.path).name),
            "ETag": f'"{found.sha256}"',
            "Accept-Ranges": "bytes",
        }
        if found.sha256 in request.if_none_match:
            return Response(b"", status=304, headers=headers)
        body, status, size = _ArtifactBody(context.store, found), 200, found.bytes
        if (wanted := _requested_range(found.sha256)) is not None:
            part = wanted.range_for_length(found.bytes)
            if part is None:
                headers["Content-Range"] = f"bytes */{found.bytes}"
                return Response(b"", status=416, headers=headers)
            start, stop = part
            body, status, size = _ArtifactBody(context.store, found, start, stop), 206, stop - start
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.bytes}"
        response = Response(body, status, headers, content_type="application/octet-stream")
        response.content_length = size
        response.timeout = DOWNLOAD_SECONDS
        return response

    return blueprint


def _requested_range(etag: str) -> Range | None:
    """Return the range of bytes that the request is for, if it is one, and of this very file if it says so."""
    wanted, condition = request.range, request.if_range
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return None
    return wanted if condition.date is None and condition.etag in (None, etag) else None


def artifact_json(artifact: Artifact) -> dict[str, Any]:
    """Return an artifact as JSON has it."""
    return {
        "path": artifact.path,
        "bytes": artifact.bytes,
        "sha256": artifact.sha256,
        "created_at": instant(artifact.created_at),
        "expires_at": instant(artifact.expires_at),
        "kept": artifact.kept,
    }


class _ArtifactBody(ResponseBody):
    """A response's body that reads an artifact while the visitor takes it."""

    def __init__(
        self, store: Store, artifact: Artifact, start: int = 0, stop: float = math.inf
    ) -> None:
        self._store = store
        self._artifact = artifact
        self._range = start, stop
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> AsyncIterator[bytes]:
        """Open the file. Raises NotStored if it expired just now: the visitor sees an answer that is cut off."""
        reading = self._store.artifacts.reading(self._artifact, *self._range)
        return await self._stack.enter_async_context(reading)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
