"""Labels of thunks that name files or checks, for the loop and runners."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.wire import bass_pb2 as pb


def label_texts(thunk: pb.Thunk, label: str) -> tuple[str, ...]:
    """Return the texts and paths that a label of a thunk has, alone or in a list."""
    labels = [each.value for each in thunk.labels if each.symbol == label]
    return tuple(text for value in labels for text in _texts(value))


def _texts(value: pb.Value) -> Iterator[str]:
    match value.WhichOneof("value"):
        case "string":
            yield value.string.value
        case "file_path":
            yield value.file_path.path
        case "dir_path":
            yield value.dir_path.path
        case "array":
            for each in value.array.values:
                yield from _texts(each)
