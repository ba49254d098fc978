"""A home for rustup in which commands can install toolchains, targets and components, beside what the user has.

The user's files are mounted read-only, one by one where rustup adds others to the same folder. What a command installs
is in its own home, and so in those of the commands after it. rustup keeps lists of what a toolchain contains, in small
files, of which each command has copies.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from bassloop.runner.engine.mounts import BindMount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LISTS = "lib/rustlib"
_SHARED = ("", "bin", "lib", _LISTS, "share", "share/doc")
"""The folders of a toolchain to which components add files of their own."""


def show_toolchains(user: Path, own: Path, inside: str) -> list[BindMount]:
    """Return mounts that make the user's toolchains part of a command's own home for rustup.

    Blocks for a few small files. Raises OSError.

    Args:
        user: the user's home for rustup.
        own: the command's, which may have been an earlier command's. It's created if it doesn't exist.
        inside: where the command has `own`.
    """
    toolchains = own / "toolchains"
    toolchains.mkdir(parents=True, exist_ok=True)
    _copy(user / "settings.toml", own)
    hashes = user / "update-hashes"
    if hashes.is_dir():
        (own / hashes.name).mkdir(exist_ok=True)
        for each in hashes.iterdir():
            _copy(each, own / hashes.name)
    mounts: list[BindMount] = []
    for each in sorted((user / "toolchains").glob("*")):
        there = toolchains / each.name
        if each.is_symlink():  # another name of a toolchain
            if not os.path.lexists(there):
                there.symlink_to(each.resolve().name)
        elif each.is_dir():
            mounts += _show(each, there, f"{inside}/toolchains/{each.name}")
    return mounts


def _show(toolchain: Path, own: Path, inside: str) -> Iterator[BindMount]:
    for folder in _SHARED:
        if not (toolchain / folder).is_dir():
            continue
        (own / folder).mkdir(exist_ok=True)
        for each in sorted((toolchain / folder).iterdir()):
            name = f"{folder}/{each.name}".lstrip("/")
            if folder == _LISTS and each.is_file():
                _copy(each, own / folder)
            elif name not in _SHARED:
                yield BindMount(each, f"{inside}/{name}", read_only=True)


def _copy(file: Path, folder: Path) -> None:
    """Copy a file unless an earlier command has one there."""
    if file.is_file() and not (folder / file.name).exists():
        shutil.copy(file, folder)
