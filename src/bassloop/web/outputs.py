"""Files that a run's thunk made, to be downloaded while a runner that has them is connected."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from quart import Blueprint, Response, abort, request
from quart.wrappers.response import ResponseBody

from bassloop.checks.outputs import Busy, NoOutput
from bassloop.web.guard import visible_run
from bassloop.web.onefile import NotAFile, OneFile

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
