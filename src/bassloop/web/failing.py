"""The line that broke it: where somebody who comes from a red check wants to stand. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.terminal import strip
from bassloop.web.outlining import Outline

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOK_BACK = 2000
"""Lines at the end of a log among which it is looked for."""

NEAR = 2
"""Lines with errors that are no further from each other are one place."""

AT_ONCE = 16
"""Lines that are gone through in one call, which other threads wait for."""

SAID = 200
"""Characters of a log's last words."""

_FRAME = re.compile(r"^[\s=_#*-]+|[\s=_#*-]+$")


@dataclass(frozen=True, slots=True)
class Failing:
    """A place in a vertex's log: lines `first` to `last`, from 0, and the log's last words."""

    row: int
    first: int
    last: int
    said: str


def failing(row: int, start: int, lines: Sequence[bytes]) -> Failing | None:
    """The first place that has an error among the last lines of a log, of which the first is number
    `start`; the last line that says something if none has. None for a log without a word.

    Lines may be long, and a stranger's: it is for a thread.
    """
    texts = [strip(line).strip() for line in lines[-50:]]
    spoken = [index for index, text in enumerate(texts) if text]
    if not spoken:
        return None
    last_word = len(lines) - len(texts) + spoken[-1]
    said = _FRAME.sub("", texts[spoken[-1]])[:SAID]
    outline = Outline()
    for at in range(0, len(lines), AT_ONCE):
        some = lines[at : at + AT_ONCE]
        outline.scan(b"".join(line + b"\n" for line in some), len(some))
    errors = outline.error_lines()
    if not errors:
        return Failing(row, start + last_word, start + last_word, said)
    first = last = errors[0]
    for line in errors[1:]:
        if line - last > NEAR:
            break
        last = line
    return Failing(row, start + first, start + last, said)
