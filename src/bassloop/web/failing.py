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
    `start`; the last line that says something if none has. None for a log without a word."""
    texts = [strip(line).strip() for line in lines[-50:]]
    spoken = [index for index, text in enumerate(texts) if text]
    if not spoken:
        return None
    last_word = len(lines) - len(texts) + spoken[-1]
    said = _FRAME.sub("", texts[spoken[-1]])[:SAID]
    outline = Outline()
    outline.scan(b"".join(line + b"\n" for line in lines), len(lines))
    errors = outline.error_lines()
    if not errors:
        return Failing(row, start + last_word, start + last_word, said)
    first = last = errors[0]
    for line in errors[1:]:
        if line - last > NEAR:
            break
        last = line
    return Failing(row, start + first, start + last, said)
