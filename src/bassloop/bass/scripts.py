"""Where the text of a Bass thunk is: in std, or in the file that its command names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from bassloop.bass import errors
from bassloop.bass.errors import BassError
from bassloop.bass.filesystem import FSPath, MemoryFiles
from bassloop.bass.path import CommandPath, DirPath, FilePath, HostPath
from bassloop.bass.printer import show
from bassloop.bass.stream import text_of
from bassloop.bass.thunk import ThunkPath
from bassloop.bass.values import strip

if TYPE_CHECKING:
    from collections.abc import Callable

    from bassloop.bass.machine import Machine
    from bassloop.bass.path import Path
    from bassloop.bass.thunk import Thunk
    from bassloop.bass.values import Value

MAX_SOURCE: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, the file that it stands in, and that file's directory, which is its `*dir*`.

    Args:
        shown: what errors call it.
        standard: whether it is one of std's, which see more than others.
    """

    source: str
    file: Path
    directory: Path
    shown: str
    standard: bool = False


def find_script(
    thunk: Thunk, open: Callable[[Value], Callable[[Machine], bytes]], machine: Machine
) -> Script:
    """A thunk's script; `open` begins to read a file.

    Raises `BassError` when the thunk is none of Bass, or its text can't be had.
    """
    if thunk.image is not None:
        raise BassError(
            f"{errors.brief(thunk)} is no Bass script: it has an image; run it, or read it"
        )
    if not thunk.args:
        raise BassError("this thunk has no command")
    command = strip(thunk.args[0])
    if isinstance(command, CommandPath):
        return _standard(command)
    if isinstance(command, FSPath | HostPath | ThunkPath) and isinstance(command.path, FilePath):
        source = _read(command, open(command), machine)
        return Script(source, command, command.parent_dir(), show(command))
    if isinstance(command, FilePath):
        raise BassError(
            f"{show(command)} is a name that means nothing here: did you mean *dir*/{command.path}?"
        )
    raise BassError(
        f"{errors.brief(command)} is no Bass script: its thunk needs an image, or (.module)"
    )


def _standard(command: CommandPath) -> Script:
    files = _std()
    file = FSPath(files, FilePath(f"{command.command}.bass"))
    if file.inside() not in (entry.name for entry in files.list_now("")):
        raise BassError(f"there is no standard module .{command.command}")
    directory = FSPath(files, DirPath("."))
    return Script(text_of(file.read_now()), file, directory, show(command), standard=True)


@cache
def _std() -> MemoryFiles:
    """The modules of std."""
    files = (resources.files("bassloop.bass") / "std").iterdir()
    return MemoryFiles(
        {each.name: each.read_bytes() for each in files if each.name.endswith(".bass")}
    )


def _read(path: Value, pull: Callable[[Machine], bytes], machine: Machine) -> str:
    content = bytearray()
    while piece := pull(machine):
        content += piece
        if len(content) > MAX_SOURCE:
            raise BassError(
                f"{errors.brief(path)} is larger than {MAX_SOURCE >> 20} MiB: this is no script"
            )
    return text_of(bytes(content))
