"""Files that a run's thunk made, to be downloaded while a runner that has them is connected."""

from __future__ import annotations

import io
import tarfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from quart import Blueprint, Response, abort, request
from quart.wrappers.response import ResponseBody

from bassloop.checks.outputs import Busy, NoOutput
from bassloop.web.guard import visible_run

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence

    from bassloop.checks.outputs import Output
    from bassloop.store import Run
    from bassloop.web.context import WebContext

SECONDS = 3600.0
"""How long one download may take."""

HEADERS = {
    # A stranger's file: it is kept, never shown.
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}


def routes(context: WebContext) -> Blueprint:
    """The outputs' route."""
    blueprint = Blueprint("outputs", __name__)

    @blueprint.get("/runs/<run_id>/output")
    async def output(run_id: str) -> Response:
        """The file at `path` in what the run's thunk made; of a directory (`.`, or with a slash at
        its end) a tar archive."""
        run = await visible_run(context, run_id)
        if run is None or context.outputs is None:
            abort(404, "there is no such output, or it is not for everyone to see")
        if request.method == "HEAD":
            abort(405, "an output is had with GET: a runner begins to send it when it is asked for")
        path = request.args.get("path", ".")
        try:
            opened = await context.outputs.open(run, path)
        except Busy as error:
            abort(503, str(error))
        except NoOutput as error:
            abort(404, f"{path}: {error}")
        try:
            return await _answer(opened, path)
        except NotAFile as error:
            opened.close()
            abort(404, f"{path}: {error}")
        except BaseException:
            opened.close()
            raise

    return blueprint


def on_offer(context: WebContext, runs: Sequence[Run]) -> Run | None:
    """The first of the runs whose outputs may be had now; None when none may."""
    if context.outputs is None:
        return None
    return next((run for run in runs if context.outputs.may_have(run)), None)


async def _answer(output: Output, path: str) -> Response:
    name = PurePosixPath(path).name or "output"
    if path.endswith("/") or not PurePosixPath(path).name:
        return _download(_Body(output, output), f"{name}.tar", "application/x-tar")
    file = OneFile(output, name)
    await file.begin()
    answer = _download(_Body(output, file), name, "application/octet-stream")
    answer.content_length = file.size
    return answer


class _Body(ResponseBody):
    """An output on its way: closed when the visitor leaves, or has all of it."""

    def __init__(self, output: Output, pieces: AsyncIterable[bytes]) -> None:
        self._output = output
        self._pieces = pieces

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._output.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._pieces)


def _download(body: _Body, name: str, kind: str) -> Response:
    answer = Response(body, content_type=kind, headers=HEADERS)
    answer.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name[-200:])}"
    answer.timeout = SECONDS
    return answer


BLOCK = tarfile.BLOCKSIZE
MAX_ABOUT = 1 << 20
"""Bytes of what a stream may say about its file before it comes."""

_ABOUT = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class NotAFile(Exception):
    """The stream does not begin with a file; the message says with what."""


class OneFile:
    """A file of this name within a tar stream: read `begin`, then iterate over its bytes.

    Raises NotAFile; what the stream raises is passed on.
    """

    def __init__(self, stream: AsyncIterator[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._held = b""
        self.size = 0

    async def begin(self) -> None:
        """Read up to where the file's bytes begin; its size is known then."""
        head = b""
        while True:
            header = await self._exactly(BLOCK)
            head += header
            try:
                about = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
            except tarfile.TarError as error:
                raise NotAFile("it is no tar stream") from error
            if about.type not in _ABOUT:
                break
            if not 0 <= len(head) + about.size <= MAX_ABOUT:
                raise NotAFile("it says too much about itself")
            head += await self._exactly((about.size + BLOCK - 1) // BLOCK * BLOCK)
        try:
            with tarfile.open(fileobj=io.BytesIO(head), mode="r:", errorlevel=2) as tar:
                file = tar.next()
        except (tarfile.TarError, ValueError) as error:
            raise NotAFile("it is no tar stream") from error
        if file is None or file.isdir() or PurePosixPath(file.name).name != self._name:
            raise NotAFile("it is a directory: with a slash at its end, it comes as an archive")
        if not file.isreg() or file.size < 0:
            raise NotAFile("it is no regular file")
        self.size = file.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.size
        while left > 0:
            piece = self._held or await self._next()
            self._held = b""
            yield piece[:left]
            left -= len(piece)

    async def _exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            self._held += await self._next()
        found, self._held = self._held[:size], self._held[size:]
        return found

    async def _next(self) -> bytes:
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            raise NotAFile("it ends before it is whole") from None
