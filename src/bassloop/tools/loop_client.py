"""A client of a loop's HTTP API: addresses of runs, and requests with size limits and helpful errors.

Loops aren't trusted: an artifact's path may not lead out of the folder, no file is overwritten, and a file is dropped
if its SHA-256 isn't the one that was listed.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import trio

from bassloop.addresses import is_loopback, trusted_certificates
from bassloop.concurrency import Backoff
from bassloop.private_files import open_private_file
from bassloop.wire.conventions import MAX_ARTIFACTS, problem_of_path

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path


_PAGE = re.compile(r"(.*)/runs/([A-Za-z0-9_-]{1,64})(?:/vertexes/(\d{1,18})(?:/.*)?)?/?", re.ASCII)
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_FRAGMENT = re.compile(r"v(\d{1,18})(?:-L\d+)?", re.ASCII)

CONNECT_SECONDS = 30.0
"""Seconds of silence that are tolerated, while connecting and between pieces of a response."""

MAX_JSON = 32 << 20

MAX_FAILURES = 5
"""How many attempts in a row to resume a download may yield nothing."""

_BACKOFF = Backoff(1.0, 15.0)
_NOT_NOW = (502, 503, 504)


class LoopError(Exception):
    """A request to a loop failed; the message gives the reason."""


class LoopUnreachable(LoopError):
    """A loop can't be reached, or a connection to it was lost; another attempt may succeed."""


class RunAddress(NamedTuple):
    """A run of a loop.

    Args:
        server: the loop's address, without a slash at the end.
        step: the row of the step that an address points to, if it does.
    """

    server: str
    run: str
    step: str | None = None

    @property
    def path(self) -> str:
        """The path of the run's page."""
        return f"/runs/{self.run}"

    @property
    def page(self) -> str:
        """The address of the run's page."""
        return f"{self.server}{self.path}"

    @property
    def websocket(self) -> str:
        """The address of the page's websocket: wss if the page is https."""
        return f"ws{self.page.removeprefix('http')}/live"


def parse_run_address(text: str, server: str) -> RunAddress:
    """Return the run that `text` names: the address of its page, or its id at `server`.

    Raises ValueError, whose message says what was expected.
    """
    if "/" not in text:
        if not _RUN_ID.fullmatch(text):
            raise ValueError(f"{text!r} is neither a run's id nor the address of a run's page")
        return RunAddress(server.rstrip("/"), text)
    parts = urlsplit(text)
    match = _PAGE.fullmatch(parts.path)
    if parts.scheme not in ("http", "https") or not parts.hostname or match is None:
        raise ValueError(
            f"{text!r} isn't the address of a run, such as https://loop.example.com/runs/ID"
        )
    _ = parts.port  # raises ValueError if there is no such port
    fragment = _FRAGMENT.match(parts.fragment)
    step = match[3] or (fragment[1] if fragment else None)
    return RunAddress(f"{parts.scheme}://{parts.netloc}{match[1]}", match[2], step)


def choose_step(steps: Sequence[Mapping[str, Any]], wanted: str) -> int:
    """Return the row of the step with this row, name or digest, or else of the only one with this text in its name.

    Raises LoopError, whose message lists the candidates, if there are none or several.
    """
    row = wanted.removeprefix("v")
    found = (
        [each for each in steps if str(each["row"]) == row]
        or [each for each in steps if wanted in (each["name"], each["digest"])]
        or [each for each in steps if wanted in each["name"]]
    )
    if len(found) == 1:
        return int(found[0]["row"])
    listed = "".join(f"\n  {each['row']}  {each['name'][:200]}" for each in (found or steps)[:20])
    if found:
        raise LoopError(f"--vertex {wanted} may be any of these; give its number:{listed}")
    raise LoopError(f"no step of the run is {wanted}; there are:{listed or ' none yet'}")


@dataclass(frozen=True, slots=True)
class LoopClient:
    """A client of one server, which is a loop, or behaves like one.

    Redirects aren't followed, since they would send the user's session elsewhere.

    Args:
        server: its address, without a slash at the end.
        headers: sent with each request, to identify the user.
    """

    server: str
    headers: Sequence[tuple[str, str]] = ()

    async def get(self, path: str, **parameters: object) -> dict[str, Any]:
        """Return the answer as JSON; parameters that are None or empty are left out. Raises LoopError."""
        given = {name: str(value) for name, value in parameters.items() if value not in (None, "")}
        return self._object(path, await self._read("GET", path, MAX_JSON, given))

    async def post(self, path: str) -> dict[str, Any]:
        """Do something, and return the answer as JSON. Raises LoopError."""
        return self._object(path, await self._read("POST", path, MAX_JSON))

    async def download(self, path: str, limit: int) -> bytes:
        """Return the content of a path, at most `limit` bytes. Raises LoopError."""
        return await self._read("GET", path, limit)

    async def sha256(self, path: str) -> str:
        """Return the SHA-256, in hexadecimal, of the content of a path. Raises LoopError."""
        digest = hashlib.sha256()
        async with self._open("GET", path) as answer:
            async for piece in answer.aiter_bytes():
                digest.update(piece)
        return digest.hexdigest()

    async def save(self, path: str, file: BinaryIO, size: int) -> str:
        """Download a path, whose content has `size` bytes, to a file, and return its SHA-256.

        If the connection is lost, the download is resumed, as long as it makes progress. Raises LoopError, and
        OSError if the file can't be written.
        """
        digest = hashlib.sha256()
        done = failures = 0
        while True:
            begun = done
            wanted = [("Range", f"bytes={done}-")] if done else []
            try:
                async with self._open("GET", path, headers=wanted) as answer:
                    if done and answer.status_code == 200:  # this loop doesn't support ranges
                        done, digest = 0, hashlib.sha256()
                        await trio.to_thread.run_sync(file.seek, 0)
                    # HTTP can't deliver more than the announced length.
                    rest = answer.headers.get("Content-Length")
                    if rest != str(size - done):
                        raise LoopError(f"{self.server}{path} doesn't have {size:,} bytes")
                    async for piece in answer.aiter_raw():
                        await trio.to_thread.run_sync(file.write, piece)
                        digest.update(piece)
                        done += len(piece)
                return digest.hexdigest()
            except LoopUnreachable:
                failures = 1 if done > begun else failures + 1
                if not done or failures > MAX_FAILURES:
                    raise
            await trio.sleep(_BACKOFF.delay(failures))

    def _object(self, path: str, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise LoopError(f"{self.server}{path} does not answer as a loop does")
        return found

    async def _read(
        self, method: str, path: str, limit: int, parameters: Mapping[str, str] | None = None
    ) -> bytes:
        async with self._open(method, path, parameters) as answer:
            return await _read_bounded(answer, limit)

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> AsyncGenerator[httpx.Response]:
        """Send a request, and yield a successful response. Raises LoopError, also if the body is incomplete."""
        url = self.server + path
        headers = [*self.headers, ("Accept", "application/json"), *headers]
        try:
            async with (
                httpx.AsyncClient(
                    trust_env=not is_loopback(url),
                    verify=trusted_certificates(url),
                    timeout=CONNECT_SECONDS,
                ) as client,
                client.stream(method, url, params=parameters, headers=headers) as answer,
            ):
                if not answer.is_success:
                    why = _reason(await _read_bounded(answer, MAX_JSON)) or answer.reason_phrase
                    kind = LoopUnreachable if answer.status_code in _NOT_NOW else LoopError
                    raise kind(f"{url}: {why} ({answer.status_code})")
                yield answer
        except httpx.TransportError as error:
            raise LoopUnreachable(f"{url}: {_describe(url, error)}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LoopError(f"{url}: {_describe(url, error)}") from error


def _describe(url: str, error: Exception) -> str:
    """Return what is wrong. Errors of TLS have no text, like those of a server that only speaks HTTP."""
    if text := str(error):
        return text
    if isinstance(error, httpx.ConnectError) and url.startswith("https:"):
        return "nothing there speaks TLS; is it an http:// address?"
    return type(error).__name__


async def _read_bounded(answer: httpx.Response, limit: int) -> bytes:
    data = bytearray()
    async for piece in answer.aiter_bytes():
        data += piece
        if len(data) > limit:
            raise LoopError(f"{answer.url} has more than {limit:,} bytes")
    return bytes(data)


def _reason(content: bytes) -> str:
    """Return the loop's message in the body of an error, if there is one."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    return str(found.get("error") or "") if isinstance(found, dict) else ""


@dataclass(frozen=True, slots=True)
class RemoteArtifact:
    """An artifact as a loop lists it."""

    path: str
    size: int
    sha256: str
    expires_at: str
    kept: bool


async def list_artifacts(loop: LoopClient, address: RunAddress) -> list[RemoteArtifact]:
    """Return a run's artifacts. Raises LoopError, also for an invalid path."""
    answer = await loop.get(f"{address.path}/artifacts")
    try:
        found = [
            RemoteArtifact(
                path=str(each["path"]),
                size=int(each["bytes"]),
                sha256=str(each["sha256"]),
                expires_at=str(each["expires_at"]),
                kept=bool(each["kept"]),
            )
            for each in answer["artifacts"][:MAX_ARTIFACTS]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise LoopError(f"{address.page}/artifacts does not answer as a loop does") from error
    for each in found:
        if (why := problem_of_path(each.path)) is not None:
            raise LoopError(f"{address.page} lists the artifact {each.path[:100]!r}: {why}")
    return found


async def download(
    loop: LoopClient, address: RunAddress, artifact: RemoteArtifact, folder: Path
) -> Path:
    """Download an artifact into a folder, at its own path, and return the file.

    Existing files aren't overwritten, and links in the folder aren't followed. Raises LoopError.
    """
    target = folder.joinpath(*artifact.path.split("/"))
    inner = [each for each in target.parents if each.is_relative_to(folder) and each != folder]
    if link := next((each for each in (target, *inner) if each.is_symlink()), None):
        raise LoopError(f"{link} is a symbolic link, which isn't followed")
    if target.exists():
        raise LoopError(f"{target} is there already")
    path = f"{address.path}/artifacts/{quote(artifact.path)}"
    try:
        with open_private_file(target, replace=False) as file:
            if await loop.save(path, file, artifact.size) != artifact.sha256:
                raise LoopError(f"{loop.server}{path} isn't the file that was listed (SHA-256)")
    except OSError as error:
        raise LoopError(f"{target} can't be written: {error.strerror}") from error
    return target
