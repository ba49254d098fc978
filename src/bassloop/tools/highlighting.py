"""A Pygments lexer for Bass, which documentation and other tools find by the name ``bass``.

It's registered as a Pygments plugin (https://pygments.org/docs/plugins/), so ``pygmentize -l bass`` and code blocks
marked ``bass`` are highlighted wherever bassloop is installed.
"""

from __future__ import annotations

from typing import ClassVar

from pygments.lexer import RegexLexer, bygroups, include, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text

FORMS = (
    "case", "cond", "curryfn", "def", "defn", "defop", "do", "each", "fn", "for", "from", "if", "import",
    "let", "module", "op", "or", "and", "provide", "quote", "use", "when",
)  # fmt: skip
_END = r"(?=[\s,\"();\[\]{}^]|$)"
_NAME = r"[^\s,\";\\()\[\]{}^:/.]+"
_KEY = r"[^\s,\";\\()\[\]{}^:/]+"
_REST = r"[^\s,\";\\()\[\]{}^]"


class BassLexer(RegexLexer):  # type: ignore[misc]  # Pygments has no types
    """Bass: a small Lisp, in which a command is written as ``($ make test)``."""

    name = "Bass"
    aliases: ClassVar = ["bass"]
    filenames: ClassVar = ["*.bass"]
    mimetypes: ClassVar = ["text/x-bass"]
    url = "https://bass-lang.org"

    tokens: ClassVar = {
        "root": [
            (r"(\()(\$)(?=\s)", bygroups(Punctuation, Operator.Word), "command"),
            include("forms"),
            (r"[()]", Punctuation),
        ],
        "forms": [
            (r"[\s,]+", Text.Whitespace),
            (r"#[! ][^\n]*", Comment.Hashbang),
            (r";[^\n]*", Comment.Single),
            (r'"', String, "string"),
            (rf"[+-]?(?:0x[0-9a-fA-F_]+|0b[01_]+|0o?[0-7_]+|[0-9][0-9_]*){_END}", Number.Integer),
            (rf"(?:null|true|false|_|&){_END}", Keyword.Constant),
            (words(FORMS, prefix=r"(?<=\()", suffix=_END), Keyword),
            (rf"(?<=\(){_NAME}(?:[:/]{_NAME})*", Name.Function),
            (rf":{_KEY}", String.Symbol),
            (rf"\*{_NAME}\*", Name.Variable.Magic),
            (rf"\.{{0,2}}/{_REST}*", String.Other),
            (rf"\.{_NAME}", Name.Builtin),
            (rf"{_NAME}/{_REST}*", String.Other),
            (_NAME, Name),
            (r"[\[\]{}]", Punctuation),
            (r"[\^:/.\\]", Operator),
        ],
        "string": [
            (r'\\["\\ntafrbv]', String.Escape),
            (r'[^"\\]+', String),
            (r'"', String, "#pop"),
            (r"\\", String),
        ],
        # The words of a command are literal; forms in brackets are highlighted as usual.
        "command": [
            (r"\)", Punctuation, "#pop"),
            (r"(\()(\$)(?=\s)", bygroups(Punctuation, Operator.Word), "#push"),
            (r"\(", Punctuation, "nested"),
            (r'"', String, "string"),
            (rf"\${_REST}+", Name.Variable),
            (r"[\s,]+", Text.Whitespace),
            (r";[^\n]*", Comment.Single),
            (r"[\[\]{}^\\]", Punctuation),
            (rf"{_REST}+", String.Other),
        ],
        "nested": [
            (r"\)", Punctuation, "#pop"),
            (r"(\()(\$)(?=\s)", bygroups(Punctuation, Operator.Word), "command"),
            (r"\(", Punctuation, "#push"),
            include("forms"),
        ],
    }
