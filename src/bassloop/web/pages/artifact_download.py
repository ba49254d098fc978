"""Downloads of artifacts, the files that are kept with a run."""

from __future__ import annotations

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
        """Send an artifact."""
        run = await visible_run(context, run_id)
        found = await artifacts.get(run_id, path[:1_000]) if run is not None else None
        if found is None:
            abort_not_found("artifact")
        if not found.kept:
            abort(410, f"{found.path} has expired: run the check again to make another one")
        headers = {
            **download_headers(PurePosixPath(found.path).name),
            "ETag": f'"{found.sha256}"',
        }
        if found.sha256 in request.if_none_match:
            return Response(b"", status=304, headers=headers)
        body = _ArtifactBody(context.store, found)
        response = Response(body, content_type="application/octet-stream", headers=headers)
        response.content_length = found.bytes
        response.timeout = DOWNLOAD_SECONDS
        return response

    return blueprint


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

    def __init__(self, store: Store, artifact: Artifact) -> None:
        self._store = store
        self._artifact = artifact
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> AsyncIterator[bytes]:
        """Open the file. Raises NotStored if it expired just now: the visitor sees an answer that is cut off."""
        reading = self._store.artifacts.reading(self._artifact)
        return await self._stack.enter_async_context(reading)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
