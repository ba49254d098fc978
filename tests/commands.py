"""`bassloop` in the tests' own process, which saves the second that another one takes to import it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from click.testing import CliRunner

from bassloop.cli import cli

if TYPE_CHECKING:
    from collections.abc import Mapping


class Finished(NamedTuple):
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


def run_command(*words: object, env: Mapping[str, str | None] | None = None) -> Finished:
    """Run `bassloop` with some words, and with variables added to the environment, or taken out of it (None)."""
    done = CliRunner(env=env).invoke(cli, [str(word) for word in words], catch_exceptions=False)
    return Finished(done.exit_code, done.stdout, done.stderr)
