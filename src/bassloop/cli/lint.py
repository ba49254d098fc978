"""`bassloop lint` and `fmt`: what is wrong with a repository's checks, and the format of scripts."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.cli.options import quick_imports
from bassloop.cli.scripts import run_late
from bassloop.repository_files import (
    CONFIG_FILE,
    OTHER_FORMATS,
    explain_missing_checks,
    find_checks_folder,
    find_script,
)
from bassloop.tools.sample_events import SAMPLE_EVENTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bassloop.project import CheckDeclaration
    from bassloop.tools.linting import LintMessage

NO_CHECKS = "there are no checks here; bassloop init proposes some"

_SKIPPED = frozenset({"node_modules", "vendor", "target", "build", "dist", "__pycache__"})


@click.command("fmt")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Change nothing; show what would change.")
def fmt(paths: tuple[Path, ...], check: bool, diff: bool) -> None:
    """Format Bass scripts: indentation, spaces and blank lines.

    PATHS are files and folders; without any, all scripts below this folder. - is standard input,
    whose formatted text goes to standard output.

    \b
    Example:
      bassloop fmt --check project.bass
    """
    if paths == (Path("-"),):
        sys.stdout.write(_formatted(sys.stdin.read(), "standard input"))
        return
    changed = 0
    for path in find_scripts(paths or (Path(),)):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{path}: {_reason(error)}") from error
        formatted = _formatted(text, str(path))
        if formatted == text:
            continue
        changed += 1
        if diff:
            import difflib

            lines = text.splitlines(keepends=True), formatted.splitlines(keepends=True)
            click.echo("".join(difflib.unified_diff(*lines, str(path), str(path))), nl=False)
        elif check:
            click.echo(f"would format {path}")
        else:
            _replace(path, formatted)
            click.echo(f"formatted {path}")
    if changed and (check or diff):
        sys.exit(1)


def find_scripts(paths: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files that paths name: themselves, or the scripts below a folder."""
    for path in paths:
        if not path.is_dir():
            if path.suffix in OTHER_FORMATS:
                raise click.UsageError(f"{path} isn't a Bass script")
            yield path
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(
                name for name in folders if not name.startswith(".") and name not in _SKIPPED
            )
            for name in sorted(files):
                if name.endswith(".bass") or (
                    name == "github-hook" and Path(folder).name == "bass"
                ):
                    yield Path(folder, name)


def _formatted(text: str, name: str) -> str:
    """Return a text formatted. Exit with a message if it is no Bass."""
    from bassloop.bass.errors import BassError
    from bassloop.bass.reader import read_source
    from bassloop.cli.scripts import report_script_errors
    from bassloop.tools.formatter import format_bass

    with report_script_errors():
        before = read_source(text, name)
        formatted = format_bass(text)
        after = read_source(formatted, name)
        if [str(form) for form in before] != [str(form) for form in after]:
            raise BassError(f"{name} would mean something else when formatted; please report it")
    return formatted


def _replace(path: Path, text: str) -> None:
    """Put a text in the place of a file, or of the one that it links to, whole, with the file's permissions."""
    target = path.resolve()
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.chmod(target.stat().st_mode)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise click.ClickException(f"{path}: {_reason(error)}") from error


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


@click.command("lint")
@click.argument("path", type=click.Path(path_type=Path, exists=True), default=".")
def lint(path: Path) -> None:
    """Find mistakes in the checks of the repository at PATH, without running any.

    Reads .bassloop.toml and all scripts: names that nothing binds, wrong arguments, words of a
    command that aren't passed as they look. Then shows which checks a push, a pull request and a
    merge queue would start. Exits with 1 if there is an error, or if there are no checks.

    \b
    Example:
      bassloop lint
    """
    root, paths = _what_to_lint(path)
    errors = warnings = 0
    declared: Mapping[str, CheckDeclaration] = {}
    if root is not None and (root / CONFIG_FILE).is_file():
        declared, problems, pitfalls = _read_checks_file(root / CONFIG_FILE)
        for problem in (*problems, *pitfalls):
            click.echo(problem)
        errors += len(problems)
        warnings += len(pitfalls)
    scripts = list(find_scripts(paths))
    for script in scripts:
        for found in _lint_script(script):
            click.echo(str(found))
            errors += found.level == "error"
            warnings += found.level == "warning"
    if root is not None and not errors:
        hook = find_script(root)
        started: Collection[str] | None = ()
        if not declared and hook is None:
            click.echo(explain_missing_checks(root) or NO_CHECKS)
            errors += not scripts
        elif hook is not None:
            failed, started = _show_expected(root, hook, declared)
            errors += failed
        else:
            _show_declared(declared)
        if started is not None and (root / CONFIG_FILE).is_file():
            limits = _unmatched_limits(root / CONFIG_FILE, declared, started)
            click.echo("".join(f"{line}\n" for line in limits), nl=False)
            warnings += len(limits)
    if errors or warnings:
        click.echo(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}", err=True)
    sys.exit(1 if errors else 0)


def _what_to_lint(path: Path) -> tuple[Path | None, tuple[Path, ...]]:
    """Return the folder of the checks to lint, None for a script alone, and where the scripts are."""
    if path.is_file():
        if path.name == CONFIG_FILE:
            return path.parent, (path.parent,)
        if path.suffix in OTHER_FORMATS:
            raise click.UsageError(f"{path} is neither {CONFIG_FILE} nor a Bass script")
        return None, (path,)
    folder = find_checks_folder(path)
    if folder is None or folder == path.resolve():
        return path, (path,)
    root = Path(os.path.relpath(folder))
    return root, (root,)


def _show_declared(checks: Mapping[str, CheckDeclaration]) -> None:
    """Show which of the declared checks each event starts."""
    from bassloop.project import started_checks

    for sample in SAMPLE_EVENTS:
        _show_started(sample.title, started_checks(checks, sample.trigger, sample.branch))


def _unmatched_limits(
    file: Path, declared: Mapping[str, CheckDeclaration], started: Collection[str]
) -> list[str]:
    from bassloop.project import unmatched_limits

    text = file.read_bytes().decode("utf-8-sig")
    return unmatched_limits(text, declared, started, str(file))


def _show_expected(
    root: Path, hook: str, checks: Mapping[str, CheckDeclaration]
) -> tuple[int, set[str] | None]:
    """Evaluate the hook to show what each event starts.

    Return the number of errors, and the names of all checks that were started; None if there may be more.
    """
    with quick_imports():
        from bassloop.tools.expected_checks import find_all_expected_checks

    declared = None
    if checks:
        from bassloop.project import write_bass  # slow to import, and most scripts are alone

        declared = write_bass(checks)
    expectations = run_late(partial(find_all_expected_checks, root, declared=declared))
    if all(expected.fails for _, expected in expectations):
        why = {(expected.location or hook, expected.error): None for _, expected in expectations}
        for location, message in why:
            click.echo(f"{root / location}: error: the hook fails: {message}")
        return len(why), None
    for sample, expected in expectations:
        _show_started(sample.title, expected.names, expected.error)
    if any(expected.error for _, expected in expectations):
        return 0, None
    return 0, {name for _, expected in expectations for name in expected.names}


def _show_started(event: str, names: Sequence[str], error: str | None = None) -> None:
    checks = ", ".join(names) or "no check"
    if error:
        checks = f"{checks}, then: {error}" if names else f"can't tell: {error}"
    click.echo(f"{event} starts {checks}")


def _lint_script(script: Path) -> list[LintMessage]:
    with quick_imports():  # most repositories have none
        from bassloop.tools.linting import lint_bass

    return lint_bass(script.read_text(encoding="utf-8", errors="replace"), str(script))


def _read_checks_file(
    file: Path,
) -> tuple[Mapping[str, CheckDeclaration], list[str], list[str]]:
    """Return the checks that a file declares, what is wrong with it, and what is probably not meant."""
    with quick_imports():
        from bassloop.project import (
            MAX_FILE,
            ChecksFileError,
            TomlLines,
            has_policy,
            pitfall_lines,
            read_checks,
        )

    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE + 1)
        checks = read_checks(content, str(file))
        if has_policy(content):
            _check_policy(content)
    except OSError as error:
        return {}, [f"{file}: {error.strerror}"], []
    except ChecksFileError as error:
        return {}, str(error).splitlines(), []
    text = content.decode("utf-8-sig")
    pitfalls = pitfall_lines(checks, text, str(file))
    lines = TomlLines(text)
    pitfalls += [
        f"{file}:{lines.line(('checks', name, 'workdir'))}: warning: checks.{name}.workdir: "
        f"there is no folder {check.workdir} in the repository"
        for name, check in checks.items()
        if not (file.parent / check.workdir).is_dir()
    ]
    return checks, [], pitfalls


def _check_policy(content: bytes) -> None:
    """Raise ChecksFileError if the policy in a file is invalid."""
    with quick_imports():
        from bassloop.access.policy import PolicyError, read_rules
        from bassloop.project import ChecksFileError

    try:
        read_rules(content)
    except PolicyError as error:
        raise ChecksFileError(str(error)) from error


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
