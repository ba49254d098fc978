"""The grammar of a terminal's input, as patterns over bytes.

All patterns take linear time: the alternatives of a repetition begin with different bytes, and repetitions are
possessive, so no input causes backtracking.

Sources: ECMA-48 (control functions), ISO 8613-6 (colours with colons), and the description of
hyperlinks by OSC 8 that terminal emulators share.
"""

from __future__ import annotations

import re

LINK_LIMIT = 2083
"""The maximum length of a hyperlink's target; with a longer one, the text has no link."""

PENDING_LIMIT = 4096
"""The maximum length of an unfinished sequence; a longer one is dropped up to its end."""

_SGR = rb"\x1b\[[0-9;:]{0,256}+m"
_STRING_BYTE = rb"[^\x07\x18\x1a\x1b\n]"
_LINK = (
    rb"\x1b\]8;[^\x07\x18\x1a\x1b\n;]{0,256}+;"
    + _STRING_BYTE
    + rb"{0,%d}+(?:\x07|\x1b\\)" % LINK_LIMIT
)
_ERASE = rb"\x1b\[[02]?K"

SGR = re.compile(rb"\x1b\[([0-9;:]{0,256}+)m")
"""Select graphic rendition; group 1 has the parameters."""

LINK = re.compile(
    rb"\x1b\]8;[^\x07\x18\x1a\x1b\n;]{0,256}+;("
    + _STRING_BYTE
    + rb"{0,%d}+)(?:\x07|\x1b\\)" % LINK_LIMIT
)
"""The beginning of a hyperlink (group 1 has its target) or its end (group 1 is empty)."""

ERASE = re.compile(_ERASE)
"""Erase to the end of the line, or the whole line."""

ERASE_RIGHT = re.compile(rb"\x1b\[0?K")

MODE = re.compile(rb"\x1b\[\?[0-9;]{0,64}+[hl]")
"""Set or reset a mode, such as hiding the cursor, which has no effect on a log."""

MODES = re.compile(rb"(?:\x1b\[\?[0-9;]{0,64}+[hl])++")

CONTENT = re.compile(
    rb"(?:[^\x08-\x0d\x1b]++|"
    + _SGR
    + rb"|\r|"
    + _ERASE
    + rb"|\x1b\[[01]?G|\x1b\\|"
    + _LINK
    + rb")++"
)
"""Text with styles and links, carriage returns and erasures in the line: everything that a single line consists of."""

NOT_IN_CONTENT = re.compile(rb"\x1b(?!\[(?:[0-9;:]{0,256}+m|[02]?K|[01]?G)|\\)")
"""An escape that `CONTENT` doesn't match, or a hyperlink."""

COLUMN_ONE = re.compile(rb"\x1b\[[01]?G")
"""Move to the first column, like a carriage return."""

NOT_IN_LINES = re.compile(
    rb"\x1b(?!\[(?:[0-9;:]{0,256}+m|0?K|\?[0-9;]{0,64}+[hl])|\\|"
    rb"\]8;[^\x07\x18\x1a\x1b\n;]{0,256}+;"
    + _STRING_BYTE
    + rb"{0,%d}+(?:\x07|\x1b\\))" % LINK_LIMIT
)
"""An escape that may move the cursor away from the end of the text: not a style, a link, erasing to the right, or a
mode."""

TABS = re.compile(rb"\t++")

BARE_RETURN = re.compile(rb"\r(?!\n)")

CSI = re.compile(rb"\x1b\[([0-?]{0,256}+)([ -/]{0,16}+)([@-~])")
"""A control sequence: parameters, intermediates, final byte."""

BROKEN_CSI = re.compile(rb"\x1b\[[0-?]{0,256}+[ -/]{0,16}+")

STRING = re.compile(
    rb"\x1b[\]PX^_]" + _STRING_BYTE + rb"*+(?:\x07|\x18|\x1a|\x1b\\|(?=\n|\x1b[^\\]))"
)
"""A command string with its terminator. A newline also ends it, because legitimate ones don't span lines, and one that
never ends mustn't swallow the log."""

STRING_END = re.compile(rb"[\x07\x18\x1a\x1b\n]")

ESCAPE = re.compile(rb"\x1b([ -/]{0,4}+)([0-Z\\`-~])")
"""The other escapes: intermediates, final byte."""

_AFTER_ESCAPE = (
    rb"(?:\[[0-?]{0,256}+[ -/]{0,16}+[@-~]?|[\]PX^_]"
    + _STRING_BYTE
    + rb"*+(?:\x07|\x18|\x1a|\x1b\\)?|[ -/]{0,4}+[0-Z\\`-~]?)"
)

TOKEN = re.compile(rb"\x1b" + _AFTER_ESCAPE)
"""An escape of any kind, whole or broken."""

FUNCTIONS = re.compile(
    rb"(?:\x1b(?!"
    + _SGR.removeprefix(rb"\x1b")
    + rb"|\[0?K|\[\?[0-9;]{0,64}+[hl]|\\|"
    + _LINK.removeprefix(rb"\x1b")
    + rb")"
    + _AFTER_ESCAPE
    + rb")++"
)
"""Escapes that are neither styles, links, erasing to the right, modes, nor string terminators."""

LEFT_OUT = re.compile(FUNCTIONS.pattern + rb"|\x08|\r(?!\n)")
"""What has no effect while functions are ignored."""

UNFINISHED = re.compile(
    rb"\x1b(?:\[[0-?]{0,256}+[ -/]{0,16}+|[\]PX^_]" + _STRING_BYTE + rb"*+\x1b?+|[ -/]{0,4}+)\Z"
)
"""An incomplete sequence at the end of the data."""

_BEGUN = rb"([\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})"

UNFINISHED_CHARACTER = re.compile(_BEGUN + rb"\Z")

PARTED_BY_MODES = re.compile(_BEGUN + MODES.pattern + rb"[\x80-\xbf]")
"""A character with modes in it, which is none; group 1 has the bytes before the modes."""

PARTED_BY_FUNCTIONS = re.compile(_BEGUN + rb"(?:" + FUNCTIONS.pattern + rb"|\x08)++[\x80-\xbf]")
"""The same with what `FUNCTIONS` matches, and backspaces."""

_ANY_ESCAPE = (
    rb"\x1b(?:\[[0-?]*+[ -/]*+[@-~]?|[\]PX^_]"
    + _STRING_BYTE
    + rb"*+(?:\x07|\x1b\\)?|[ -/]*+[0-~]?)"
)

ANY_ESCAPE = re.compile(_ANY_ESCAPE)

CONTROLS = bytes(range(0x09)) + bytes(range(0x0A, 0x20)) + b"\x7f"

INVISIBLE = re.compile(_ANY_ESCAPE + rb"|[\x00-\x08\x0a-\x1f\x7f]")
"""What has no width: every escape, complete or not, and control characters."""
