"""Images that a check names and that weren't used, as steps of its run.

A runner without a container engine runs commands with its machine's own programs. It reports each image that it
didn't use as a step of this name, so that whoever shows the run can say so, without a message of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bassloop.wire import bass_pb2

CHECKOUT_IMAGE = "alpine/git"
"""The image that the loop fetches a repository's files with. It's no part of what a check names."""

_PREFIX = "image not used, but this machine's own programs: "


def step_name(ref: bass_pb2.ImageRef) -> str:
    """Return the name of the step that says that an image wasn't used."""
    tag = f":{ref.tag}" if ref.tag else ""
    digest = f"@{ref.digest}" if ref.digest else ""
    return f"{_PREFIX}{ref.repository}{tag}{digest}"


def unused_images(step_names: Iterable[str]) -> list[str]:
    """Return the images that these steps say weren't used, each once, in order."""
    found = (name.removeprefix(_PREFIX) for name in step_names if name.startswith(_PREFIX))
    return list(dict.fromkeys(found))
