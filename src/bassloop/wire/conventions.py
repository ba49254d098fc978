"""Conventions between loop and runner beyond the messages: labels of thunks, and steps that aren't commands.

Artifacts and test reports are each sent as the log of a step of its own, which pages don't show. A runner sends
artifacts at the end of a run, before it signs, and only to a loop that has named its limits. A loop sends those that
another check uses before that check's run, each in its own call.

A runner without a container engine runs commands with its machine's own programs. It reports each image that it
didn't use as a step, so that pages can mention it without a message type of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bassloop.wire import bass_pb2
    from bassloop.wire import bass_pb2 as pb


def label_texts(thunk: pb.Thunk, label: str) -> tuple[str, ...]:
    """Return the texts and paths in a thunk's label, which may be a single one or a list."""
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


ARTIFACT_PREFIX = "bassloop:artifact:"
"""Begins the id of such a step. The file's path follows."""

SERVICE_LABEL = "service"
"""The label with a service's name, for messages."""

TIME_LIMIT_METADATA = "bassloop-time-limit"
"""The time limit of a run in seconds, such as `90.5`. The loop cancels the call then."""

ARTIFACTS_LABEL = "artifacts"
"""The label with the patterns of a thunk's artifacts. A pattern that ends in a slash names a folder."""

LIMITS_METADATA = "bassloop-artifact-limits"
"""The loop's limits in bytes, for one artifact and for all of a run, such as `1000 5000`."""

MAX_ARTIFACTS = 40
"""The maximum number of artifacts of a run: a statement lists them, and must fit in a header."""

MAX_ARTIFACT_PATH = 200
"""The size limit of an artifact's path in bytes."""


USES_LABEL = "uses"
"""The label with the names of checks of the same commit whose artifacts a thunk uses."""

PUT_METHOD = "/bassloop.Artifacts/Put"
"""The method with which a loop sends an artifact, as a stream of `ExportResponse` with its bytes."""

RUN_METADATA = "bassloop-run"
NAME_METADATA = "bassloop-artifact-name"
SHA256_METADATA = "bassloop-artifact-sha256"
"""Metadata of the artifact that a loop sends."""

GIVEN_METADATA = "bassloop-given"
"""The names and SHA-256 of the artifacts that a run uses, as a JSON list of pairs."""

GIVEN_FOLDER = "artifacts"
"""The folder in which a command finds these artifacts, by name."""

MAX_GIVEN = 100
"""The maximum number of artifacts of other checks that a run may use."""

MAX_GIVEN_NAME = 500

MAX_GIVEN_LIST = 56 << 10
"""The size limit of their list. All headers of a call may have 64 KiB; with more, the runner closes its connection."""


def given_name(check: str, path: str) -> str:
    """Return the name of a check's artifact in another check."""
    folder = "".join("_" if each in "/\\:," else each for each in check)
    return f"{folder if folder.strip('.') else '_'}/{path}"


def problem_of_given(name: str) -> str | None:
    """Return why a command can't be given an artifact under this name, or None."""
    return problem_of_path(name, MAX_GIVEN_NAME)


def digest_of_given(given: Iterable[tuple[str, str]]) -> str:
    """Return a digest of the names and SHA-256 of artifacts: the SHA-256 of sorted lines of JSON, one for each."""
    lines = sorted(json.dumps(list(each)).encode() + b"\n" for each in given)
    return hashlib.sha256(b"".join(lines)).hexdigest()


def artifact_path(vertex: str) -> str | None:
    """Return the path of the artifact that a step represents, or None."""
    if not vertex.startswith(ARTIFACT_PREFIX):
        return None
    return vertex.removeprefix(ARTIFACT_PREFIX)


def problem_of_path(path: str, most: int = MAX_ARTIFACT_PATH) -> str | None:
    """Return why a path can't be an artifact's, or None.

    It must be relative and normalized, with only visible characters: it becomes a file name on others' machines.
    """
    if len(path.encode(errors="replace")) > most:
        return f"its path has more than {most} bytes"
    if not path.isprintable() or "\\" in path:
        return "its path has characters that can't be in a file's name everywhere"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "its path is not a relative one within a folder"
    return None


REPORT_PREFIX = "bassloop:report:"
"""Begins the id of such a step. The file's path follows."""

REPORTS_LABEL = "reports"
"""The label with the patterns of a thunk's test reports."""

MAX_REPORT = 16 << 20
"""The size limit of one report in bytes."""

MAX_REPORTS_SIZE = 32 << 20
"""The size limit of all reports of a command in bytes."""

MAX_REPORTS = 200
"""The maximum number of reports of a command."""


CHECKOUT_IMAGE = "alpine/git"
"""The image in which the loop fetches a repository's files. Checks don't name it themselves."""

WORK_FOLDER = "/bass/work"
"""The folder in which runners run commands. The files of the repository are in it."""

_WORK_PATH = re.compile(r"(?<![\w/.-])(?:file://)?/bass/work/")


def as_in_project(text: str) -> str:
    """Return a text with the paths of files in the work folder as the repository has them."""
    return _WORK_PATH.sub("", text)


_UNUSED = "this machine's own programs, not the image "
_UNUSED_BEFORE = "image not used, but this machine's own programs: "
"""What earlier runners write, and what is in stored runs."""


def step_name(ref: bass_pb2.ImageRef) -> str:
    """Return the name of the step that reports an unused image."""
    tag = f":{ref.tag}" if ref.tag else ""
    digest = f"@{ref.digest}" if ref.digest else ""
    return f"{_UNUSED}{ref.repository}{tag}{digest}"


def is_unused_image(step_name: str) -> bool:
    """Return whether a step only reports an unused image. Such a step isn't a success, though it has no error."""
    return step_name.startswith((_UNUSED, _UNUSED_BEFORE))


def unused_images(step_names: Iterable[str]) -> list[str]:
    """Return the images that these steps report as unused, each once, in order."""
    found = (
        name.removeprefix(_UNUSED).removeprefix(_UNUSED_BEFORE)
        for name in step_names
        if is_unused_image(name)
    )
    return list(dict.fromkeys(found))
