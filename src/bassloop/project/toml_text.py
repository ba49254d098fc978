"""The text of a TOML file: its values, the lines of its keys, and what is probably wrong if it can't be read."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import re2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEADER = re.compile(r"^\s*\[\[?(?P<keys>[^\]]+)\]")
_PAIR = re.compile(
    r"^\s*(?P<keys>(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*="
)
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")

_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?(?:"""(?:"{0,2})|\Z)|\'{3}.*?(?:\'{3}(?:\'{0,2})|\Z)'''
    r"""|"(?:\\.|[^"\\\n])*"?|\'[^\'\n]*\'?|\#[^\n]*|[\[{\]}\n]""",
    re.DOTALL,
)
"""What decides where a value ends: strings and comments, which may contain brackets, brackets, and line breaks."""

_BARE_WORDS = re.compile(
    r"""\s*(?P<key>[\w.-]+)\s*=\s*(?P<words>[A-Za-z./_][^"'\\#\[\]{}]{0,200})"""
)
_CURLY_QUOTE = re.compile("[\u2018\u2019\u201c\u201d\u201e]")
_CHECK_HEADER = re.compile(
    r"""\s*\[\s*checks\.(?P<name>(?!\s)(?:[^"'\[\]#=.]|\.(?![a-z])){1,100}?)\s*\]\s*(?:#.*)?"""
)
_UNQUOTED_KEY = re.compile(r"""\s*(?P<name>[^"'\[\]{}#=,:.\s][^"'\[\]{}#=,:.]{0,100}?)\s*=""")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_COLON = re.compile(r"\s*(?:- +)?[\w-]+\s*:")
_WITHOUT_EQUALS = re.compile(r"""\s*[\w-]+\s+["'\[{]""")
_NUMBER_WITH_UNIT = re.compile(r"\s*(?P<key>[\w-]+)\s*=\s*(?P<words>\d+(?:\.\d+)?[A-Za-z]+)\s*")
_BARE_WORD = re.compile(r"[A-Za-z./_][\w./:-]*")
_AT_A_NAME = ("Expected '=' after a key in a key/value pair", "Invalid statement")
"""The parser's messages about a character that a name can't have without quotes."""

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

MAX_FILE = 64 << 10
"""The size limit of the file in bytes, for its checks as well as for its policy."""

MAX_PARTS = 40
"""How many parts a key may have. `tomllib` takes time that grows with their square: 30 s for 32,000."""

_LONG_KEY = re2.compile(
    r"""(?:(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*\.[ \t]*){""" + f"{MAX_PARTS}}}"
)


def load_toml(text: str) -> dict[str, Any]:
    """Parse a stranger's TOML. Raises tomllib.TOMLDecodeError for everything that can't be read.

    The time is proportional to the length of the text.
    """
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        raise tomllib.TOMLDecodeError(
            f"A key has more than {MAX_PARTS} parts (at line {line}, column {column})"
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("Values are nested too deeply") from None
    except ValueError:
        raise tomllib.TOMLDecodeError("A number has too many digits") from None


class TomlLines:
    """The lines of keys, which `tomllib` doesn't report.

    Keys in an inline table have the line on which the table begins.

    Args:
        text: a file that `tomllib` can read.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in _statements(text):
            if header := _HEADER.match(line):
                table = _keys(header["keys"])
                for length in range(1, len(table) + 1):
                    self._lines.setdefault(table[:length], number)
            elif pair := _PAIR.match(line):
                keys = (*table, *_keys(pair["keys"]))
                for length in range(len(table) + 1, len(keys) + 1):
                    self._lines.setdefault(keys[:length], number)

    def line(self, path: Sequence[object]) -> int | None:
        """Return the line of a key, or of the innermost table around it; None if neither is found."""
        keys = tuple(str(part) for part in path)
        for length in range(len(keys), 0, -1):
            if (line := self._lines.get(keys[:length])) is not None:
                return line
        return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each header and each pair with the number of its first line. A value may have more lines."""
    start, depth, number = 0, 0, 1
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and depth == 0:
            yield number, text[start : token.start()]
            number += text.count("\n", start, token.end())
            start = token.end()
    yield number, text[start:]


def _keys(text: str) -> tuple[str, ...]:
    return tuple(key.strip("\"'") for key in _KEY.findall(text))


def syntax_problem(name: str, text: str, message: str) -> str:
    """Return `tomllib`'s message as ``FILE:LINE:COLUMN: problem``, with a hint for common mistakes."""
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    if found is None:
        hint = (
            "; a text of several lines ends with three quotes" if "Unterminated" in message else ""
        )
        return f"{name}: this is not TOML: {message}{hint}"
    problem = message[: found.start()].strip()
    line = "".join(text.split("\n")[int(found[1]) - 1 :][:1]).rstrip()
    hint = _hint(problem, line, int(found[2]) - 1)
    return f"{name}:{found[1]}:{found[2]}: this is not TOML: {problem}{hint and f'; {hint}'}"


def _hint(problem: str, line: str, column: int) -> str:
    """Return what is probably meant by a line that isn't TOML from a column on; "" if that's unknown."""
    if problem == "Illegal character '\\n'":
        return "the text needs a quote at its end"
    if found := _CURLY_QUOTE.search(line):
        return f"{found[0]} is not a quote in TOML, but \" and ' are"
    if hint := _hint_on_name(problem, line):
        return hint
    if _COLON.match(line) and "=" not in line:
        return 'a table begins with its name in brackets, such as [checks.test], and a line is written as key = "value"'
    if hint := _hint_at(problem, line, column):
        return hint
    if problem != "Invalid value":
        return ""
    if bare := _BARE_WORDS.fullmatch(line):
        return f'text needs quotes: {bare["key"]} = "{bare["words"]}"'
    bare = _BARE_WORD.match(line, column)
    return f'text needs quotes, as in "{bare[0]}"' if bare else ""


def _hint_on_name(problem: str, line: str) -> str:
    """Return how to write the name that a line begins with if it has to be in quotes; "" if it needn't."""
    if header := _CHECK_HEADER.fullmatch(line):
        name, written = header["name"], '[checks."{}"]'
    elif (key := _UNQUOTED_KEY.match(line)) and problem in _AT_A_NAME:
        name, written = key["name"], '"{}" = …'
    else:
        return ""
    if _BARE_KEY.fullmatch(name):
        return ""
    others = "spaces" if _BARE_KEY.fullmatch(name.replace(" ", "")) else "such characters"
    return f"a name with {others} needs quotes: {written.format(name)}"


def _hint_at(problem: str, line: str, column: int) -> str:
    """Return what is probably meant by what follows a column, judging by the parser's message; "" if that's unknown."""
    rest = line[column:].lstrip()
    match problem:
        case "Expected newline or end of document after a statement":
            if rest.startswith(("//", "--")):
                return "a comment begins with #"
            if rest in (";", ","):
                return f"a line has no {rest} at its end"
            if number := _NUMBER_WITH_UNIT.fullmatch(line):
                return f'text needs quotes: {number["key"]} = "{number["words"]}"'
            if line[:column].endswith("'"):
                return "a text that contains ' needs double quotes around it"
            if line[:column].endswith('"'):
                return 'a text that contains " needs single quotes around it'
        case "Expected '=' after a key in a key/value pair":
            if _WITHOUT_EQUALS.match(line):
                return 'a line is written as key = "value"'
        case "Invalid initial character for a key part":
            if rest.startswith("}"):
                return "a table in braces has no comma at its end"
        case "Unclosed array":
            if rest.startswith(('"', "'")):
                return "a list has commas between its values"
        case "Unescaped '\\' in a string":
            return "write \\\\ for a backslash, or use single quotes, in which it stands for itself"
        case "Cannot overwrite a value":
            return "the key is there twice"
        case "Invalid statement":
            if rest.startswith("("):
                return "checks in Bass are in project.bass"
            if rest.startswith("{"):
                return "a check is a table, such as [checks.test], with a line for each key"
    return ""


def encoding_problem(name: str, content: bytes, error: UnicodeDecodeError) -> str:
    """Return why a file's content can't be decoded, with the line."""
    if content.startswith(_UTF_16):
        return f"{name}: this is UTF-16 text; save it as UTF-8"
    line = content[: error.start].count(b"\n") + 1
    return f"{name}:{line}: this is not UTF-8 text; save the file as UTF-8"
