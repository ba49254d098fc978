"""Checks declared in a repository's `.bassloop.toml`, without a line of Bass. No I/O.

    source = compile_checks(content)     # the hook that starts the checks, or None if the file declares none
    checks = read_checks(content)        # the declarations; both raise ChecksFileError, with the lines of the mistakes

:mod:`declaration` defines the file's schema, :mod:`reading` reads it and finds the lines of mistakes, :mod:`pitfalls`
finds what is valid but probably not meant, :mod:`compiling` compiles it to Bass and lists what an event
starts, :mod:`proposals` proposes checks from a project's files, of which :mod:`manifests` reads some, and
:mod:`workflows` proposes them from its GitHub Actions workflows.
"""

from __future__ import annotations

from bassloop.project.compiling import started_checks, write_bass
from bassloop.project.declaration import CheckDeclaration, Matrix, json_schema
from bassloop.project.pitfalls import pitfall_lines, unmatched_limits
from bassloop.project.reading import ChecksFileError, compile_checks, has_policy, read_checks
from bassloop.project.toml_text import (
    MAX_FILE,
    TomlLines,
    encoding_problem,
    load_toml,
    syntax_problem,
)

__all__ = [
    "MAX_FILE",
    "CheckDeclaration",
    "ChecksFileError",
    "Matrix",
    "TomlLines",
    "compile_checks",
    "encoding_problem",
    "has_policy",
    "json_schema",
    "load_toml",
    "pitfall_lines",
    "read_checks",
    "started_checks",
    "syntax_problem",
    "unmatched_limits",
    "write_bass",
]
