"""Checks declared in a repository's `.bassloop.toml`, without a line of Bass. Pure, no I/O.

    checks = read_checks(content)        # raises ChecksFileError, which points into the file
    source = write_bass(checks)          # the hook that they mean

:mod:`declaration` is the file's shape, :mod:`reading` finds the line of what is wrong with it,
:mod:`compiling` writes the Bass, :mod:`detection` proposes checks for a project, and :mod:`workflows` does so from
those that it has on GitHub Actions.
"""

from __future__ import annotations

from bassloop.project.compiling import write_bass
from bassloop.project.declaration import CHECKS_FILE, CheckDeclaration, Matrix, json_schema
from bassloop.project.reading import ChecksFileError, TomlLines, read_checks

__all__ = [
    "CHECKS_FILE",
    "CheckDeclaration",
    "ChecksFileError",
    "Matrix",
    "TomlLines",
    "json_schema",
    "read_checks",
    "write_bass",
]
