"""`bassloop eject`: the Bass that `.bassloop.toml` means."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("eject")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".")
def eject(path: Path) -> None:
    """Print the Bass that the checks in .bassloop.toml mean.

    The loop evaluates this text for them. Written to project.bass, with [checks] removed
    from .bassloop.toml, it does the same, and is yours to change.

    \b
    Example:
      bassloop eject > project.bass
    """
    from bassloop.cli.errors import report_errors
    from bassloop.project import CHECKS_FILE, ChecksFileError, read_checks, write_bass
    from bassloop.tools.formatter import format_bass

    file = path / CHECKS_FILE
    if not file.is_file():
        raise click.ClickException(f"there is no {file}; bassloop init writes one")
    with report_errors(ChecksFileError):
        checks = read_checks(file.read_bytes(), str(file))
    if not checks:
        raise click.ClickException(f"{file} declares no checks; add a [checks.NAME] with a run")
    text = write_bass(checks, comment=f"The checks of {CHECKS_FILE}, as Bass.")
    click.echo(format_bass(text), nl=False)
