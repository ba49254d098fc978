"""The one file of a tar stream, as it comes. Headers are read by Python's own `tarfile`."""

from __future__ import annotations

import io
import tarfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
