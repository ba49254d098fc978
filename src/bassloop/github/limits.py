"""GitHub's limits on what a check run says, and where to cut."""

from __future__ import annotations

MAX_TEXT = 65_535
MAX_TITLE = 255
_CUT = "\n\n… (cut here; the whole is behind the link)"


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """Text of at most `limit` bytes of UTF-8, cut at the end of a line where one is near.

    An open code fence is closed, so that what follows is no code.
    """
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    fence = _open_fence(text)
    ending = (f"\n{fence}" if fence else "") + _CUT
    kept = data[: limit - len(ending.encode())].decode(errors="ignore")
    newline = kept.rfind("\n")
    if newline > len(kept) * 3 // 4:
        kept = kept[:newline]
    if fence and kept.count(fence) % 2 == 0:
        ending = _CUT
    return kept + ending


def title(text: str) -> str:
    """A title in one line, as long as GitHub shows."""
    flat = " ".join(text.split()) or "Bass Loop"
    return flat if len(flat) <= MAX_TITLE else flat[: MAX_TITLE - 1] + "…"


def _open_fence(text: str) -> str:
    for line in text.splitlines():
        ticks = len(line) - len(line.lstrip("`"))
        if ticks >= 3:
            return "`" * ticks
    return ""
