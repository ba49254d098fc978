"""Downloads: artifacts, which are stored with a run, and outputs of thunks, streamed from a runner that has them."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from quart import Blueprint, Response, abort, jsonify, request
from quart.wrappers.response import ResponseBody

from bassloop.checks.output_downloads import OutputBusy, OutputInterrupted, OutputUnavailable
from bassloop.tar_archive import BadTar, TarHeaderReader
from bassloop.web.guard import run_or_404
from bassloop.web.presentation import DOWNLOAD_SECONDS, abort_not_found, download_headers, instant

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence

    from werkzeug.datastructures import Range

    from bassloop.checks.output_downloads import Output
    from bassloop.store import Artifact, Run, Store
    from bassloop.web.web_context import WebContext


def _requested_range(etag: str) -> Range | None:
    """Return the request's range, or None if it has no single range, or has an If-Range that doesn't match."""
    wanted, condition = request.range, request.if_range
    if (
        request.method == "HEAD"
        or wanted is None
        or wanted.units != "bytes"
        or len(wanted.ranges) != 1
    ):
        return None
    return wanted if condition.date is None and condition.etag in (None, etag) else None


def artifact_json(artifact: Artifact) -> dict[str, Any]:
    """Return an artifact for JSON."""
    return {
        "path": artifact.path,
        "bytes": artifact.bytes,
        "sha256": artifact.sha256,
        "created_at": instant(artifact.created_at),
        "expires_at": instant(artifact.expires_at),
        "kept": artifact.kept,
    }


class _ArtifactBody(ResponseBody):
    """A response body that streams an artifact."""

    def __init__(
        self, store: Store, artifact: Artifact, start: int = 0, stop: float = math.inf
    ) -> None:
        self._store = store
        self._artifact = artifact
        self._range = start, stop
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> AsyncIterator[bytes]:
        """Open the file. Raises NotStored if it has just expired: then the response is truncated."""
        reading = self._store.artifacts.reading(self._artifact, *self._range)
        return await self._stack.enter_async_context(reading)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def routes(context: WebContext) -> Blueprint:
    """Return the routes."""
    blueprint = Blueprint("downloads", __name__)
    artifacts = context.store.artifacts

    @blueprint.get("/runs/<run_id>/output")
    async def output(run_id: str) -> Response:
        """Send the output file at `path`, or a directory (`.`, or with a trailing slash) as a tar archive."""
        run = await run_or_404(context, run_id, "output")
        if context.outputs is None:
            abort_not_found("output")
        if request.method == "HEAD":
            abort(405, "use GET: a runner starts to send an output as soon as it is requested")
        path = request.args.get("path", ".")
        try:
            opened = await context.outputs.open(run, path)
        except OutputBusy as error:
            abort(503, str(error))
        except OutputUnavailable as error:
            abort(404, f"{path}: {error}")
        try:
            return await _response(opened, path)
        except (NotAFile, OutputInterrupted) as error:
            opened.close()
            abort(404, f"{path}: {error}")
        except BaseException:
            opened.close()
            raise

    @blueprint.get("/runs/<run_id>/artifacts")
    async def listing(run_id: str) -> Response:
        """List the artifacts of a run, including expired ones."""
        await run_or_404(context, run_id)
        found = await artifacts.of_run(run_id)
        return jsonify({"artifacts": [artifact_json(each) for each in found]})

    @blueprint.get("/runs/<run_id>/artifacts/<path:path>")
    async def artifact(run_id: str, path: str) -> Response:
        """Send an artifact, or a requested range of it, with which an interrupted download can continue."""
        await run_or_404(context, run_id, "artifact")
        found = await artifacts.get(run_id, path[:1_000])
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


def run_with_outputs(context: WebContext, runs: Sequence[Run]) -> Run | None:
    """Return the first of the runs whose outputs can be downloaded now, or None."""
    if context.outputs is None:
        return None
    return next((run for run in runs if context.outputs.may_have(run)), None)


async def _response(output: Output, path: str) -> Response:
    name = PurePosixPath(path).name or "output"
    if path.endswith("/") or not PurePosixPath(path).name:
        return _download(_OutputBody(output, output), f"{name}.tar", "application/x-tar")
    member = TarMember(output, name)
    await member.read_header()
    response = _download(_OutputBody(output, member), name, "application/octet-stream")
    response.content_length = member.size
    return response


def _download(body: _OutputBody, name: str, content_type: str) -> Response:
    response = Response(body, content_type=content_type, headers=download_headers(name))
    response.timeout = DOWNLOAD_SECONDS
    return response


class _OutputBody(ResponseBody):
    """A response body that closes the output when it is complete, or when the visitor disconnects."""

    def __init__(self, output: Output, chunks: AsyncIterable[bytes]) -> None:
        self._output = output
        self._chunks = chunks

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._output.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the chunks. The output is closed before the last one, so that the runner can serve the next output."""
        last = b""
        async for chunk in self._chunks:
            if last:
                yield last
            last = chunk
        await self._output.aclose()
        if last:
            yield last


class NotAFile(Exception):
    """A stream doesn't start with a regular file. The message says what it contains instead."""


class TarMember:
    """The content of the only file in a tar stream. Call `read_header`, then iterate.

    Both raise NotAFile, and the errors of the stream.
    """

    def __init__(self, stream: AsyncIterator[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._buffer = bytearray()  # a part of it can be removed without copying the rest
        self.size = 0

    async def read_header(self) -> None:
        """Read up to the file's content, and set `size`."""
        reader = TarHeaderReader()
        try:
            while reader.wanted:
                reader.feed(await self._read(reader.wanted))
        except BadTar as error:
            raise NotAFile(f"it is not a tar stream: {error}") from error
        file = reader.member
        if file is None or file.isdir() or PurePosixPath(file.name).name != self._name:
            raise NotAFile("it is a directory: add a trailing slash to get it as a tar archive")
        if not file.isreg():
            raise NotAFile("it is not a regular file")
        self.size = file.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.size
        chunk = bytes(self._buffer)
        self._buffer.clear()
        while left > 0:
            if chunk:
                yield chunk[:left]
                left -= len(chunk)
            if left > 0:
                chunk = await self._next()

    async def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += await self._next()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _next(self) -> bytes:
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            raise NotAFile("it ends in the middle of the file") from None
