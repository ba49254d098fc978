"""GitHub's limits on what a check run says, and where to cut. Pure."""

from __future__ import annotations

import re

MAX_TEXT = 65_535
MAX_TITLE = 255
MAX_MESSAGE = 64_000
_CUT = "\n\n… (cut here; the whole is behind the link)"
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")


def cut(text: str, limit: int = MAX_TEXT, note: str = _CUT) -> str:
    """Text of at most `limit` bytes of UTF-8, cut at the end of a line where one is near.

    An open code fence is closed, so that the note, and what follows, is no code. What is no Unicode
    (lone surrogates) is replaced.
    """
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    kept = _prefix(data, limit - len(note.encode()))
    fence = _open_fence(kept)
    if fence:
        # The closing fence needs room; what is cut for it may have been the opening one.
        kept = _prefix(data, limit - len(note.encode()) - len(fence) - 1)
        fence = _open_fence(kept)
    ending = f"\n{fence}{note}" if fence else note
    whole = (kept + ending).encode()
    return whole.decode() if len(whole) <= limit else whole[:limit].decode(errors="ignore")


def _prefix(data: bytes, length: int) -> str:
    """The first bytes as text, up to a line's end if that is not far."""
    kept = data[: max(length, 0)].decode(errors="ignore")
    newline = kept.rfind("\n")
    return kept[:newline] if newline > len(kept) * 3 // 4 else kept


def _open_fence(text: str) -> str:
    """The fence that closes the code block that text ends in; nothing when it ends in none."""
    fence = ""
    for line in text.split("\n"):
        found = _FENCE.match(line)
        if not found:
            continue
        marks, rest = found[1], line[found.end() :]
        if not fence:
            if marks[0] == "~" or "`" not in rest:
                fence = marks
        elif marks[0] == fence[0] and len(marks) >= len(fence) and not rest.strip():
            fence = ""
    return fence


def title(text: str) -> str:
    """A title in one line, as long as GitHub shows; text that is empty gets one all the same."""
    flat = " ".join(text.encode(errors="replace").decode().split()) or "Bass Loop"
    return flat if len(flat) <= MAX_TITLE else flat[: MAX_TITLE - 1] + "…"
