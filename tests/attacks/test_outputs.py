"""Runners that claim to have what a run left, and send something else to visitors who download it."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import tarfile
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx
import pytest
import trio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from bassloop.bridge.grpc import open_grpc_server
from bassloop.wire import progrock_pb2, runtime_pb2
from bassloop.wire.runtime_grpc import RuntimeBase

from .conftest import STUCK_SECONDS
from .runners import HOOK, registered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

    from .conftest import Target

pytestmark = pytest.mark.attacks

NAME = "x"
"""The path of the file that visitors ask for."""

CHUNK = 4_000_000
"""Nearly as many bytes as a message may have."""

ENDLESS_SECONDS = 1.0
"""How long a visitor stays at a download, since some have no end."""

SETTINGS = {"OUTPUT_LIMIT": "64 MiB"}


def header(name: str = NAME, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> bytes:
    """Return the header of a member."""
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, size, link
    return member.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")


def extended(kind: bytes, content: bytes) -> bytes:
    """Return an extended header, which is about the member after it."""
    return header("././@LongLink", kind, len(content)) + content + bytes(-len(content) % 512)


def record(key: bytes, value: bytes) -> bytes:
    """Return a record of an extended header."""
    rest = b" %b=%b\n" % (key, value)
    size = next(n for n in range(len(rest), len(rest) + 20) if len(b"%d" % n) + len(rest) == n)
    return b"%d" % size + rest


def pax(*records: bytes) -> bytes:
    return extended(tarfile.XHDTYPE, b"".join(records))


def full(part: bytes, size: int = CHUNK) -> bytes:
    """Return about as many bytes as fit in a message."""
    return part * (size // len(part))


def in_chunks(data: bytes) -> Iterable[bytes]:
    return (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))


def half_a_header() -> Iterable[bytes]:
    yield header()[:100]
    raise GRPCError(Status.ABORTED, "the disk is broken")


SMALL_RECORD = b"5 a=\n"
REFUSED: dict[str, Callable[[], Iterable[bytes]]] = {
    "long names without an end": lambda: itertools.repeat(full(header(kind=b"L"))),
    "long names of 511 characters, without an end": lambda: itertools.repeat(
        full(extended(b"L", b"a" * 511))
    ),
    "a long name of megabytes": lambda: in_chunks(extended(b"L", b"a/" * CHUNK)),
    "small records": lambda: [pax(SMALL_RECORD * 52_000) + header() + full(bytes(512))],
    "headers of small records": lambda: [full(pax(SMALL_RECORD * 102)), full(bytes(512))],
    "a record of megabytes": lambda: in_chunks(pax(record(b"path", b"a" * 2 * CHUNK))),
    "records that lie about their size": lambda: [pax(b"999999999 path=x\n") + header()],
    "records in records": lambda: [pax(record(b"a", record(b"path", b"../y"))) + header("y")],
    "a negative size": lambda: [header(size=-1) + bytes(512)],
    "a size that isn't one": lambda: [pax(record(b"size", b"9" * 4_000)) + header()],
    "a sparse file": lambda: [header(kind=tarfile.GNUTYPE_SPARSE, size=1 << 40)],
    "a sparse file of PAX": lambda: [
        pax(record(b"GNU.sparse.map", b"0,1," * 50_000), record(b"GNU.sparse.size", b"9" * 18))
        + header()
    ],
    "a name with dots": lambda: [header("../../../etc/passwd") + bytes(512)],
    "an absolute name": lambda: [pax(record(b"path", b"/etc/passwd")) + header()],
    "a name with NUL": lambda: [pax(record(b"path", b"x\0/../y")) + header()],
    "a name that isn't UTF-8": lambda: [pax(record(b"path", b"\xed\xa0\x80\xff")) + header()],
    "a device": lambda: [header(kind=tarfile.CHRTYPE) + bytes(512)],
    "a symbolic link": lambda: [header(kind=tarfile.SYMTYPE, link="/etc/passwd")],
    "a link": lambda: [header(kind=tarfile.LNKTYPE, link="/proc/self/environ")],
    "nothing": lambda: [b""],
    "half a header, and an error": half_a_header,
}
"""What visitors get nothing of but a message."""

TEN_MIB = gzip.compress(bytes(10 << 20))
PASSED_ON: dict[str, Callable[[], Iterable[bytes]]] = {
    "a file that never comes": lambda: [header(size=1 << 40)],
    "a file that ends early": lambda: [header(size=CHUNK) + b"x"],
    "more than the file": lambda: [header(size=1) + full(b"x"), full(b"x"), full(b"x")],
    "a file without an end": lambda: [header(size=1 << 40), *[full(b"x")] * 17],
    "something that unpacks to much more": lambda: [
        header(size=300 * len(TEN_MIB)) + 300 * TEN_MIB
    ],
    "130,000 files in a file": lambda: [header(size=1 << 40), *[full(header())] * 17],
    "a file, a byte at a time": lambda: itertools.chain(
        [header(size=1 << 40)], itertools.repeat(b"x")
    ),
    "chunks of nothing": lambda: itertools.chain([header(size=10)], itertools.repeat(b"")),
}
"""Files as visitors get them, or the beginnings of them. After the last two, which cost more than the runner's
budget, nothing is read from it for a while."""


class Outputs(RuntimeBase):
    """Succeeds at once, and sends an output, whatever path it is asked for."""

    def __init__(self) -> None:
        self.chunks: Callable[[], Iterable[bytes]] = list

    async def Run(self, stream) -> None:  # type: ignore[no-untyped-def]
        await stream.recv_message()
        update = progrock_pb2.StatusUpdate()
        await stream.send_message(runtime_pb2.RunResponse(progress=update))

    async def ExportPath(self, stream) -> None:  # type: ignore[no-untyped-def]
        await stream.recv_message()
        for number, chunk in enumerate(self.chunks()):
            await stream.send_message(runtime_pb2.ExportResponse(data=chunk))
            if number % 100 == 99:
                # In small bursts: the others share this process with the attacker.
                await asyncio.sleep(0.01)

    Read = Export = Publish = Resolve = Run


def open_client() -> httpx.AsyncClient:
    """Open a client of a visitor who gets errors as text."""
    return httpx.AsyncClient(timeout=STUCK_SECONDS, headers={"accept": "text/plain"})


@asynccontextmanager
async def an_output(target: Target, runner: Outputs) -> AsyncGenerator[str]:
    """The address of an output that a runner has."""
    async with (
        open_grpc_server([runner]) as new_session,
        registered(target, new_session, client_version="bassloop"),
    ):
        check = await target.concluded(await target.push(HOOK))
        assert check["conclusion"] == "success", check["output"]
        yield f"{target.daemon.url}/{str(check['details_url']).split('/', 3)[3]}/output"


async def test_outputs_that_are_no_files_are_refused(target: Target) -> None:
    runner, enough = Outputs(), trio.Event()
    async with an_output(target, runner) as url, open_client() as client:

        async def download() -> None:
            for name, runner.chunks in itertools.chain(REFUSED.items(), repeated(REFUSED, enough)):
                status = 503
                while status == 503:  # the output before this one is still being ended
                    answer = await client.get(url, params={"path": NAME})
                    status = answer.status_code
                assert status == 404, (name, status, answer.text[:1000])

        await target.withstand("outputs that are no files", download, enough)
    assert not target.daemon.lines_with("Traceback")


async def test_outputs_that_lie_about_their_size_do_not_hold_up_others(target: Target) -> None:
    runner, enough = Outputs(), trio.Event()
    async with an_output(target, runner) as url, open_client() as client:

        async def download() -> None:
            for name, runner.chunks in itertools.chain(
                PASSED_ON.items(), repeated(PASSED_ON, enough)
            ):
                status = 503
                while status == 503:
                    status = await begin_download(client, url)
                assert status == 200, (name, status)

        await target.withstand("outputs that lie about their size", download, enough)
    assert not target.daemon.lines_with("Traceback")


async def begin_download(client: httpx.AsyncClient, url: str) -> int:
    """Download for a while, and return the status. An output that breaks off is an error of the protocol."""
    with trio.CancelScope() as scope, suppress(httpx.RemoteProtocolError):
        async with client.stream("GET", url, params={"path": NAME}) as answer:
            status = answer.status_code
            scope.deadline = trio.current_time() + ENDLESS_SECONDS
            async for _ in answer.aiter_raw():
                pass
    return status


def repeated(
    items: dict[str, Callable[[], Iterable[bytes]]], have_begun: trio.Event
) -> Iterator[tuple[str, Callable[[], Iterable[bytes]]]]:
    """Set an event, and yield the items again and again."""
    have_begun.set()
    while True:
        yield from items.items()
