"""The protocol for artifacts: each file is the log of a step of its own, which pages don't show.

A runner sends them at the end of a run, before it signs, and only to a loop that has named its limits.
"""

from __future__ import annotations

ARTIFACT_PREFIX = "bassloop:artifact:"
"""Begins the id of such a step. The file's path follows."""

ARTIFACTS_LABEL = "artifacts"
"""The label of a thunk that names its artifacts, by patterns; one that ends in a slash is a folder."""

LIMITS_METADATA = "bassloop-artifact-limits"
"""What a loop takes: the bytes of one artifact and of all of a run, as in `1000 5000`."""

MAX_ARTIFACTS = 40
"""Artifacts of one run: a statement lists them, and has to fit into a header."""

MAX_ARTIFACT_PATH = 200
"""Bytes of an artifact's path."""


def artifact_path(vertex: str) -> str | None:
    """Return the path of the artifact that a step is, or None if it is none."""
    if not vertex.startswith(ARTIFACT_PREFIX):
        return None
    return vertex.removeprefix(ARTIFACT_PREFIX)


def problem_of_path(path: str) -> str | None:
    """Return why a path can't be an artifact's, or None.

    It is relative and normal, and every character can be seen: it becomes a file's name on others' machines.
    """
    if len(path.encode(errors="replace")) > MAX_ARTIFACT_PATH:
        return f"its path has more than {MAX_ARTIFACT_PATH} bytes"
    if not path.isprintable() or "\\" in path:
        return "its path has characters that can't be in a file's name everywhere"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "its path is not a relative one within a folder"
    return None
