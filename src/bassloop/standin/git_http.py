"""Git's smart HTTP for reading, so that runners can clone the repository. Any commit may be fetched.

https://git-scm.com/docs/gitprotocol-http
"""

from __future__ import annotations

import zlib
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING

import trio
from quart import Response, request

from bassloop.concurrency import shielded
from bassloop.standin import authorization
from bassloop.standin.authorization import CallRefused
from bassloop.standin.git import END_SECONDS, SAFE, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_trio import QuartTrio

    from bassloop.standin.state import StandInState

MAX_REQUEST = 64 << 20
UPLOAD_PACK = (
    "-c",
    "uploadpack.allowAnySHA1InWant=true",
    "-c",
    "uploadpack.allowFilter=true",
    "upload-pack",
    "--stateless-rpc",
)
SERVICE = "git-upload-pack"


def add_routes(web: QuartTrio, standin: StandInState) -> None:
    """Add the routes, with and without `.git` at the repository's end."""

    @web.get("/<owner>/<name>/info/refs")
    async def refs(owner: str, name: str) -> Response:
        authorization.require_clone(standin, owner, name.removesuffix(".git"))
        if request.args.get("service") != SERVICE:
            raise CallRefused(403, "only reading is served here")
        process = await _start(standin, "--http-backend-info-refs")
        announced = b"001e# service=git-upload-pack\n0000"
        if _version() == "version=2":
            announced = b""
        return _streamed(_output(process, announced), f"application/x-{SERVICE}-advertisement")

    @web.post("/<owner>/<name>/git-upload-pack")
    async def upload_pack(owner: str, name: str) -> Response:
        authorization.require_clone(standin, owner, name.removesuffix(".git"))
        body = bytes(await request.get_data(as_text=False))  # type: ignore[arg-type]
        if request.headers.get("Content-Encoding") in ("gzip", "x-gzip"):
            body = _unzipped(body)
        process = await _start(standin)
        return _streamed(_output(process, b"", body), f"application/x-{SERVICE}-result")

    @web.post("/<owner>/<name>/git-receive-pack")
    async def receive_pack(owner: str, name: str) -> Response:
        raise CallRefused(403, "only reading is served here")


def _unzipped(body: bytes) -> bytes:
    try:
        unzip = zlib.decompressobj(31)
        whole = unzip.decompress(body, MAX_REQUEST)
    except zlib.error as error:
        raise CallRefused(400, "the request is not gzip") from error
    if unzip.unconsumed_tail:
        raise CallRefused(413, "the request is too long")
    return whole


def _version() -> str:
    """Return the protocol version that the client requests; other values are ignored."""
    asked = request.headers.get("Git-Protocol", "")
    return asked if asked in ("version=1", "version=2") else ""


async def _start(standin: StandInState, *more: str) -> trio.Process:
    command = ["git", *SAFE, *UPLOAD_PACK, *more, str(standin.repository_path)]
    env = environment(GIT_PROTOCOL=_version())
    try:
        return await trio.lowlevel.open_process(
            command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=env
        )
    except FileNotFoundError as error:
        raise CallRefused(500, "git is not installed, or not on the PATH") from error


async def _output(process: trio.Process, first: bytes, stdin: bytes = b"") -> AsyncIterator[bytes]:
    """Yield git's output in pieces, and end git if the client disconnects."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if first:
            yield first
        # In stateless mode, git reads everything before it writes.
        await process.stdin.send_all(stdin)
        await process.stdin.aclose()
        while piece := await process.stdout.receive_some(64 << 10):
            yield bytes(piece)
    finally:
        with shielded(END_SECONDS):
            process.kill()
            await process.stdin.aclose()
            await process.stdout.aclose()
            await process.wait()


def _streamed(pieces: AsyncIterator[bytes], content_type: str) -> Response:
    response = Response(pieces, content_type=content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.timeout = None
    return response
