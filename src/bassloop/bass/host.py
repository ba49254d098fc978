"""What a session asks of whoever embeds the language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bassloop.bass.thunk import ImageRef, Thunk
    from bassloop.bass.values import Value


class Host(Protocol):
    """Everything outside. Methods raise BassError for what a script's author can understand.

    `tree` is the host's own word for where a script's files are; scripts can't make one.
    """

    async def read_file(self, tree: Any, path: str) -> bytes | None:
        """A file's bytes, None when there is none. `path` has no `..` and does not begin with `/`."""

    async def list_files(self, tree: Any, path: str) -> dict[str, bytes] | None:
        """All files in a folder, by their path in it; None when there is no such folder."""

    async def run(self, thunk: Thunk) -> None:
        """Run a thunk on a runtime."""

    async def read(self, thunk: Thunk) -> bytes:
        """Run a thunk on a runtime, and return what it printed."""

    async def resolve(self, ref: ImageRef) -> Thunk:
        """The thunk of an image's name."""

    def log(self, message: str, fields: dict[str, Value]) -> None:
        """Something that a script said."""
