"""Checks declared in a repository's `.bassloop.toml`, without a line of Bass. No I/O.

    checks = read_checks(content)        # raises ChecksFileError, with the lines of the mistakes
    source = write_bass(checks)          # the hook that starts these checks

:mod:`declaration` defines the file's schema, :mod:`reading` reads it and finds the lines of mistakes, :mod:`pitfalls`
finds what is valid but probably not meant, :mod:`compiling` compiles it to Bass and lists what an event
starts, :mod:`detection` proposes checks from a project's files, and :mod:`workflows` proposes them from its GitHub
Actions workflows.
"""

from __future__ import annotations

from bassloop.project.compiling import started_checks, write_bass
from bassloop.project.declaration import CheckDeclaration, Matrix, json_schema
from bassloop.project.pitfalls import pitfall_lines, unmatched_limits
from bassloop.project.reading import ChecksFileError, has_policy, read_checks
from bassloop.project.toml_text import TomlLines, load_toml

__all__ = [
    "CheckDeclaration",
    "ChecksFileError",
    "Matrix",
    "TomlLines",
    "has_policy",
    "json_schema",
    "load_toml",
    "pitfall_lines",
    "read_checks",
    "started_checks",
    "unmatched_limits",
    "write_bass",
]
