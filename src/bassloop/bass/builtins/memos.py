"""Remembering what calls gave: the two builtins that `memo` is made of."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from bassloop.bass import arguments, errors, memo_file
from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import FSPath, NotRead
from bassloop.bass.pair import plain
from bassloop.bass.path import HostPath
from bassloop.bass.registry import builtin
from bassloop.bass.thunk import Thunk, ThunkPath
from bassloop.bass.wire.encode import encode, read_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bassloop.bass.host import ByteStream, Host
    from bassloop.bass.machine import Machine
    from bassloop.bass.scope import Scope
    from bassloop.bass.values import Value
    from bassloop.wire import bass_pb2 as pb


@builtin(
    "recall-memo",
    "[memos thunk binding input]",
    """what a call gave when it was remembered in memos, null if it was not

    The call is that of a module's function with a list of arguments. See [memo], which is made of this.
    """,
)
def recall_memo(args: list[Value], scope: Scope, machine: Machine) -> Value:
    known = memo_file.recall(_open(args[0], machine), _call(args, machine))
    return known[0] if known else None


@builtin(
    "store-memo",
    "[memos thunk binding input result]",
    """remembers what a call gave, and returns it

    Memos that come from a thunk or a repository stay as they are. See [memo], which is made of this.
    """,
)
def store_memo(args: list[Value], scope: Scope, machine: Machine) -> Value:
    made = _call(args, machine)
    place = plain(args[0])
    if isinstance(place, HostPath):
        written = machine.session.written_memos.setdefault((place.context, place.inside()), [])
        written.append((made, _message(args[4], machine)))
        machine.wait(_write(place, written, machine.host))
    else:
        _open(place, machine)
    return args[4]


def _call(args: list[Value], machine: Machine) -> memo_file.MemoKey:
    module = plain(args[1])
    if not isinstance(module, Thunk):
        raise errors.wrong_type(module, "thunk", "memo")
    binding = arguments.symbol(args[2], "memo")
    try:
        return memo_file.call(module, binding, args[3])
    except NotRead:
        machine.wait(read_files(module))
        machine.wait(read_files(args[3]))
        return memo_file.call(module, binding, args[3])


def _message(value: Value, machine: Machine) -> pb.Value:
    try:
        return encode(value)
    except NotRead:
        machine.wait(read_files(value))
        return encode(value)


def _open(value: Value, machine: Machine) -> pb.Memosphere:
    place = plain(value)
    if not isinstance(place, HostPath | FSPath | ThunkPath):
        raise errors.wrong_type(place, "path to a file of memos", "memo")
    content = machine.wait(_content(place, machine.host))
    return memo_file.parse(content, errors.brief(place))


async def _content(place: HostPath | FSPath | ThunkPath, host: Host) -> bytes:
    if isinstance(place, FSPath):
        return await place.read()
    if isinstance(place, HostPath):
        return await _host_content(place, host)
    data = io.BytesIO(await _all(host.export_path(place), errors.brief(place)))
    try:
        with tarfile.open(fileobj=data) as archive:
            first = archive.next()
            file = None if first is None else archive.extractfile(first)
            if file is not None:
                return file.read()
    except tarfile.TarError as error:
        raise BassError(f"{errors.brief(place)} cannot be read: {error}") from error
    raise BassError(f"{errors.brief(place)} is no file, so there are no memo in it")


async def _host_content(place: HostPath, host: Host) -> bytes:
    """A file of this machine; empty when it does not exist yet."""
    name = place.inside().rpartition("/")[2]
    entries = await host.list_host_path(HostPath(place.context, place.path.parent_dir()))
    if not any(entry.name == name for entry in entries):
        return b""
    return await _all(host.read_host_path(place), errors.brief(place))


async def _all(stream: ByteStream, name: str) -> bytes:
    content = bytearray()
    async with stream as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > 2 * memo_file.MAX_SIZE:
                raise BassError(
                    f"{name} is larger than {memo_file.MAX_SIZE >> 20} MiB: these are no memos"
                )
    return bytes(content)


async def _write(
    place: HostPath, written: list[tuple[memo_file.MemoKey, pb.Value]], host: Host
) -> None:
    """Put all that this session remembered into the file, again if there was more of it meanwhile."""
    done = 0
    while done < len(written):
        sphere = memo_file.parse(await _host_content(place, host), errors.brief(place))
        done = len(written)
        for made, output in written:
            memo_file.store(sphere, made, output)
        await host.write_host_path(place, _once(memo_file.render(sphere)))


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
