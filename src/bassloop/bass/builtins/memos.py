"""Storing and recalling the results of calls, for `memo`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from bassloop.bass import arguments, memo_file
from bassloop.bass.errors import BassError, brief, wrong_type
from bassloop.bass.filesystem import FSPath
from bassloop.bass.path import HostPath
from bassloop.bass.registry import builtin
from bassloop.bass.thunk import ThunkPath
from bassloop.bass.values import plain
from bassloop.bass.wire.encode import encode
from bassloop.tar_archive import BadTar, read_members

if TYPE_CHECKING:
    from bassloop.bass.host import ByteStream, Host
    from bassloop.bass.machine import Machine
    from bassloop.bass.memo_file import MemoKey
    from bassloop.bass.values import Scope, Value
    from bassloop.wire import bass_pb2 as pb


@builtin("recall-memo", "[memos thunk binding input]")
def recall_memo(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Returns the stored result of a call, or null if there is none.

    The call is one of a module's function with a list of arguments. [memo] uses this.
    """
    found = memo_file.recall(_open(args[0], machine), _key(args, machine))
    return found[0] if found else None


@builtin("store-memo", "[memos thunk binding input result]")
def store_memo(args: list[Value], scope: Scope, machine: Machine) -> Value:
    """Stores the result of a call, and returns it.

    Memos that come from a thunk or a repository don't change. [memo] uses this.
    """
    key = _key(args, machine)
    path = plain(args[0])
    if isinstance(path, HostPath):
        written = machine.session.written_memos.setdefault((path.context, path.inside()), [])
        written.append((key, machine.with_files(lambda: encode(args[4]), args[4])))
        machine.wait(_write(path, written, machine.host))
    else:
        _open(path, machine)
    return args[4]


def _key(args: list[Value], machine: Machine) -> MemoKey:
    module = arguments.thunk(args[1], "memo")
    binding = arguments.symbol(args[2], "memo")
    return machine.with_files(lambda: memo_file.memo_key(module, binding, args[3]), module, args[3])


def _open(value: Value, machine: Machine) -> pb.Memosphere:
    path = plain(value)
    if not isinstance(path, HostPath | FSPath | ThunkPath):
        raise wrong_type(path, "path to a file of memos", "memo")
    content = machine.wait(_content(path, machine.host))
    return memo_file.parse(content, brief(path))


async def _content(path: HostPath | FSPath | ThunkPath, host: Host) -> bytes:
    if isinstance(path, FSPath):
        return await path.read()
    if isinstance(path, HostPath):
        return await _host_content(path, host)
    return _first_file(await _all(host.export_path(path), brief(path)), brief(path))


def _first_file(archive: bytes, name: str) -> bytes:
    """Return the content of the only file in a tar archive. Raises `BassError` if its first member isn't a file."""
    data = io.BytesIO(archive)
    try:
        first = next(read_members(data), None)
    except BadTar as error:
        raise BassError(f"{name} cannot be read: {error}") from error
    if first is None or not first.isreg():
        raise BassError(f"{name} isn't a file, so it holds no memos")
    content = data.read(first.size)
    if len(content) < first.size:
        raise BassError(f"{name} cannot be read: it ends in the middle of a file")
    return content


async def _host_content(path: HostPath, host: Host) -> bytes:
    """Return the content of a file of the host; b"" if it doesn't exist yet."""
    name = path.inside().rpartition("/")[2]
    entries = await host.list_host_path(HostPath(path.context, path.path.parent_dir()))
    if not any(entry.name == name for entry in entries):
        return b""
    return await _all(host.read_host_path(path), brief(path))


async def _all(stream: ByteStream, name: str) -> bytes:
    content = bytearray()
    async with stream as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > 2 * memo_file.MAX_SIZE:
                raise BassError(
                    f"{name} is larger than {memo_file.MAX_SIZE >> 20} MiB: it isn't a file of memos"
                )
    return bytes(content)


async def _write(path: HostPath, written: list[tuple[MemoKey, pb.Value]], host: Host) -> None:
    """Write all memos that this session has stored to the file, and again if more were added meanwhile."""
    done = 0
    while done < len(written):
        memos = memo_file.parse(await _host_content(path, host), brief(path))
        done = len(written)
        for key, output in written:
            memo_file.store(memos, key, output)
        await host.write_host_path(path, memo_file.render(memos))
