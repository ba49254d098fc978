"""Tools that print JSON, as one document or one object a line: linters, compilers and test runners.

To support another tool, add a row. A rule matches every object of a document that has all fields in `has`. Fields are
paths of keys and indexes, such as ``location.row``. ``[KEY]`` is the element of a list whose KEY is true, or the first
one if there is none. A path that begins with ``^`` is looked up in the enclosing objects.
"""

from __future__ import annotations

from dataclasses import dataclass

from bassloop.failures.failure import Rank

ERRORS = ("error", "ERROR", "Error", "fatal", "FATAL", "high", "critical", "blocker", "major", 2)


@dataclass(frozen=True, slots=True)
class JSONRule:
    """The format of one kind of failure of a tool that prints JSON.

    Args:
        has: the fields that an object must have, each with the possible values; none if any value matches.
        message: the fields of the message, of which the first that exists is used.
        code, test: the fields of the rule that was broken, and of the test's name.
        at: the fields of the path, the line and the column; the last of them may be missing.
        first_line: the number of a file's first line.
        stack: the field of a stack trace, which has the locations.
    """

    tool: str
    rank: Rank
    has: dict[str, tuple[object, ...]]
    message: tuple[str, ...]
    code: str | None = None
    test: str | None = None
    at: tuple[str, ...] = ()
    first_line: int = 1
    stack: str | None = None


# fmt: off
JSON_RULES: tuple[JSONRule, ...] = (
    # Compilers and linters
    JSONRule(
        "eslint", Rank.ERROR, {"ruleId": (), "severity": ERRORS, "line": (), "^filePath": ()},
        ("message",), code="ruleId", at=("^filePath", "line", "column"),
    ),
    JSONRule(
        "stylelint", Rank.ERROR, {"rule": (), "severity": ERRORS, "text": (), "^source": ()},
        ("text",), at=("^source", "line", "column"),
    ),
    JSONRule(
        "ruff", Rank.ERROR, {"filename": (), "location.row": (), "code": ()},
        ("message",), code="code", at=("filename", "location.row", "location.column"),
    ),
    JSONRule(
        "pyright", Rank.ERROR, {"file": (), "severity": ERRORS, "range.start.line": ()},
        ("message",), code="rule", at=("file", "range.start.line", "range.start.character"),
        first_line=0,
    ),
    JSONRule(
        "pylint", Rank.ERROR, {"type": ("error", "fatal"), "message-id": (), "path": ()},
        ("message",), code="symbol", at=("path", "line", "column"),
    ),
    JSONRule(
        "pylint", Rank.ERROR, {"type": ("error", "fatal"), "messageId": (), "path": ()},
        ("message",), code="symbol", at=("path", "line", "column"),
    ),
    JSONRule(
        "mypy", Rank.ERROR, {"file": (), "severity": ERRORS, "line": (), "message": ()},
        ("message",), code="code", at=("file", "line", "column"),
    ),
    JSONRule(
        "shellcheck", Rank.ERROR,
        {"file": (), "line": (), "level": ("error", "warning", "info", "style"), "code": ()},
        ("message",), code="code", at=("file", "line", "column"),
    ),
    JSONRule(
        "bandit", Rank.ERROR, {"issue_text": (), "filename": (), "line_number": ()},
        ("issue_text",), code="test_id", at=("filename", "line_number"),
    ),
    JSONRule(
        "semgrep", Rank.ERROR, {"check_id": (), "path": (), "start.line": ()},
        ("extra.message",), code="check_id", at=("path", "start.line", "start.col"),
    ),
    JSONRule(
        "golangci-lint", Rank.ERROR, {"FromLinter": (), "Text": (), "Pos.Filename": ()},
        ("Text",), code="FromLinter", at=("Pos.Filename", "Pos.Line", "Pos.Column"),
    ),
    JSONRule(
        "rubocop", Rank.ERROR,
        {"cop_name": (), "message": (), "location.start_line": (), "^path": ()},
        ("message",), code="cop_name", at=("^path", "location.start_line", "location.start_column"),
    ),
    JSONRule(
        "code quality", Rank.ERROR,
        {"fingerprint": (), "description": (), "location.positions.begin.line": ()},
        ("description",),
        at=("location.path", "location.positions.begin.line", "location.positions.begin.column"),
    ),
    JSONRule(
        "code quality", Rank.ERROR, {"fingerprint": (), "description": (), "location.path": ()},
        ("description",), at=("location.path", "location.lines.begin"),
    ),
    JSONRule(
        "sarif", Rank.ERROR, {"ruleId": (), "message.text": (), "locations": ()},
        ("message.text",), code="ruleId",
        at=(
            "locations.0.physicalLocation.artifactLocation.uri",
            "locations.0.physicalLocation.region.startLine",
            "locations.0.physicalLocation.region.startColumn",
        ),
    ),
    JSONRule(
        "gcc", Rank.ERROR, {"kind": ("error", "fatal error"), "message": (), "locations": ()},
        ("message",),
        at=("locations.0.caret.file", "locations.0.caret.line", "locations.0.caret.column"),
    ),
    JSONRule(
        "rust", Rank.ERROR,
        {"level": ("error",), "message": (), "spans.[is_primary].file_name": ()},
        ("message",),
        at=(
            "spans.[is_primary].file_name", "spans.[is_primary].line_start",
            "spans.[is_primary].column_start",
        ),
    ),
    JSONRule(
        "terraform", Rank.ERROR, {"severity": ("error",), "summary": (), "detail": ()},
        ("summary",), at=("range.filename", "range.start.line", "range.start.column"),
    ),
    # Test runners
    JSONRule(
        "jest", Rank.TEST, {"fullName": (), "status": ("failed",), "failureMessages": ()},
        ("failureMessages.0",), test="fullName", at=("^name",), stack="failureMessages.0",
    ),
    JSONRule(
        "mocha", Rank.TEST, {"fullTitle": (), "err.message": ()},
        ("err.message",), test="fullTitle", stack="err.stack",
    ),
    JSONRule(
        "playwright", Rank.TEST, {"title": (), "ok": (False,), "tests": ()},
        ("tests.0.results.0.error.message",), test="title",
        at=(
            "tests.0.results.0.error.location.file", "tests.0.results.0.error.location.line",
            "tests.0.results.0.error.location.column",
        ),
    ),
    JSONRule(
        "rspec", Rank.TEST, {"full_description": (), "status": ("failed",), "file_path": ()},
        ("exception.message",), test="full_description", at=("file_path", "line_number"),
    ),
    JSONRule(
        "pytest", Rank.TEST,
        {"nodeid": (), "outcome": ("failed",), "longrepr.reprcrash.message": ()},
        ("longrepr.reprcrash.message",), test="nodeid",
        at=("longrepr.reprcrash.path", "longrepr.reprcrash.lineno"),
    ),
    JSONRule(
        "pytest", Rank.TEST,
        {"nodeid": (), "outcome": ("failed", "error"), "call.crash.message": ()},
        ("call.crash.message",), test="nodeid", at=("call.crash.path", "call.crash.lineno"),
    ),
    JSONRule(
        "rust", Rank.TEST, {"type": ("test",), "event": ("failed",), "name": ()},
        ("message", "stdout"), test="name",
    ),
    # Without a location
    JSONRule("any", Rank.MESSAGE, {"level": ERRORS, "msg": ()}, ("msg",)),
    JSONRule("any", Rank.MESSAGE, {"level": ERRORS, "message": ()}, ("message",)),
    JSONRule("npm", Rank.MESSAGE, {"error.summary": (), "error.code": ()}, ("error.summary",)),
    JSONRule("docker", Rank.MESSAGE, {"errorDetail.message": ()}, ("errorDetail.message",)),
)
# fmt: on
