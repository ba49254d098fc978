"""`bassloop init` and `eject`: a repository's checks, proposed, and as the Bass that they mean."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bassloop.repository_files import (
    CONFIG_FILE,
    SCRIPTS,
    explain_missing_checks,
    find_checks_folder,
    find_script,
    is_git_folder,
    repository_top,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bassloop.project.proposals import Proposal
    from bassloop.project.workflows.translation import Workflow

MAX_PROPOSALS = 40

NOT_PROJECTS = {
    *(
        "bench",
        "benches",
        "benchmarks",
        "build",
        "dist",
        "doc",
        "docs",
        "examples",
        "fixtures",
        "fuzz",
    ),
    *("node_modules", "scripts", "site", "target", "test", "tests", "tools", "vendor", "website"),
}
"""Folders that never count as projects of their own."""

PROGRAMS = {
    *(
        "bundle",
        "bun",
        "cargo",
        "cmake",
        "composer",
        "deno",
        "dotnet",
        "go",
        "gradle",
        "make",
        "mix",
    ),
    *("mvn", "npm", "pip", "pnpm", "python", "python3", "tox", "uv", "yarn"),
}
"""First words of commands, which show the programs that a project needs."""

_TESTS = re.compile(r"(?<!la)test|check|spec\b|\btox\b|\bnox\b|\bverify\b", re.IGNORECASE)
_OTHER_WORK = re.compile(
    r"(?:^|[\s/])(?:install|add|sync|download|black|eslint|flake8|isort|mypy|prettier|pylint|pyright|rubocop|ruff"
    r"|shellcheck|tsc|twine|(?:cargo|deno|pip|poetry) check"
    r"|cargo (?:\+\S+ )?(?:build|clippy|doc|fmt|outdated)|go (?:build|vet)"
    r"|cat|cd|cp|curl|echo|export|git|ls|mkdir|rm|wget)(?:\s|$)"
)
"""Commands that run no tests, though their arguments may mention some."""

_COMMAND_ENDS = re.compile(r"[\n;|]|&&")

HAS_CHECKS = (
    "{} has checks already: `bassloop try --list` lists them, and `bassloop init --print` shows "
    "what init would write without them"
)

EXAMPLE = """
[checks.hello]
run = "echo hello"
"""


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".")
@click.option(
    "--workflows/--no-workflows",
    default=True,
    show_default=True,
    help="Translate the jobs of .github/workflows, if there are any.",
)
@click.option(
    "--print",
    "print_only",
    is_flag=True,
    help="Write nothing; show what would be written, also if there are checks already.",
)
def init(path: Path, workflows: bool, print_only: bool) -> None:
    """Propose checks for the repository at PATH, and write them to .bassloop.toml.

    Looks at what the project is made with (pyproject.toml, package.json, go.mod, Cargo.toml, a
    Makefile, …) and declares the checks that such a project usually has. It also looks
    two folders down, for projects of other kinds. Edit the checks as you like.

    The jobs of GitHub Actions' workflows are translated instead, if the repository has any that run on
    pushes or pull requests. What has no translation is listed, and noted in the file. If none of them
    runs tests, the project's own are added.

    \b
    Example:
      bassloop init && bassloop try
    """
    from bassloop.cli.errors import report_errors
    from bassloop.cli.machine_advice import explain_old_programs, has_engine
    from bassloop.project import ChecksFileError, read_checks
    from bassloop.project.proposals import write_declaration
    from bassloop.terminal import one_line

    if is_git_folder(path.resolve()):
        raise click.ClickException(
            f"{path.resolve()} is where Git keeps a repository, and not its working tree: name the folder of a clone"
        )
    root = path if (path / ".git").exists() else repository_top(path.resolve()) or path
    file = root / CONFIG_FILE
    hooks = [root / hook for hook in SCRIPTS]
    existing = next(filter(Path.is_file, hooks), None)
    before = ""
    if file.is_dir():
        raise click.ClickException(f"{file} is a folder, and must be a file")
    if existing is None and file.is_file():
        with report_errors(ChecksFileError):
            if read_checks(file.read_bytes(), str(file)):
                existing = file
            else:
                before = file.read_text(encoding="utf-8")
    if existing is not None and not print_only:
        raise click.ClickException(HAS_CHECKS.format(existing))
    translated = _translate_workflows(root) if workflows else None
    proposals = list(translated.checks) if translated else []
    if not any(map(_is_test, proposals)):
        taken = {proposal.name for proposal in proposals}
        for each in _detected(root):
            if each.name not in taken:
                proposals.append(each)
            elif _is_test(each):  # the workflows' check of this name runs none
                proposals.append(replace(each, name=f"project-{each.name}"))
    left_out = len(proposals) - MAX_PROPOSALS
    proposals = proposals[:MAX_PROPOSALS]
    without_check = translated.left_out if translated else []
    text = write_declaration(proposals, without_check) + ("" if proposals else EXAMPLE)
    if before:
        text = f"{before.rstrip()}\n\n{text}"
    if print_only:
        click.echo(text, nl=False)
        return
    file.write_text(text, encoding="utf-8")
    for proposal in proposals:
        commands = "; ".join(
            one_line(each if isinstance(each, str) else " ".join(each)) for each in proposal.run
        )
        click.echo(f"{proposal.name}: {commands}  (for {proposal.why})")
        for note in proposal.notes:
            click.echo(f"  - {note}")
    for reason in without_check:
        click.echo(f"left out: {reason}")
    if not proposals:
        click.echo(
            "found no project that init knows, here or two folders down, so this is an example: "
            "put your own commands into it"
        )
    if left_out > 0:
        click.echo(f"left out {left_out} more: add those that you want in the same way")
    click.echo(f"wrote {file}")
    if _is_ignored(file):
        click.echo(
            f"\nGit ignores {file.name}, so neither a trial nor a push would have these checks: "
            f"add the line !/{file.name} to the end of .gitignore"
        )
    for old in explain_old_programs(lambda name: _text(root / name)):
        click.echo(f"\n{old}: without a container engine, the checks may fail here")
    if not has_engine():
        click.echo(_without_engine(proposals))
    click.echo("\nTry it with: bassloop try")


def _is_ignored(file: Path) -> bool:
    """Return whether Git ignores a file. Some projects list what they don't ignore, instead of what they do."""
    if (git := shutil.which("git")) is None:
        return False
    command = [git, "-C", str(file.parent), "check-ignore", "--quiet", file.name]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _is_test(proposal: Proposal) -> bool:
    """Return whether a check seems to run tests, and not only to build or to lint."""
    scripts = (each if isinstance(each, str) else " ".join(each) for each in proposal.run)
    commands = (command for script in scripts for command in _COMMAND_ENDS.split(script))
    plain = (
        " ".join(word for word in command.split() if not word.startswith("-"))
        for command in commands
    )
    return any(_TESTS.search(each) and not _OTHER_WORK.search(each) for each in plain)


def _without_engine(proposals: Sequence[Proposal]) -> str:
    """Return what to do before a first try, so that it doesn't fail because an image is missing."""
    from bassloop.cli.machine_advice import advise_installation

    images = ", ".join(dict.fromkeys(proposal.image for proposal in proposals)) or "their images"
    text = (
        f"\nNeither Podman nor Docker is installed. {advise_installation()}, so that these checks "
        f"run in {images}. Without, they run with the programs of this machine"
    )
    commands = (command for proposal in proposals for command in proposal.run)
    first = (
        command.split(maxsplit=1)[0] if isinstance(command, str) else command[0]
        for command in commands
    )
    names = dict.fromkeys(name for name in first if name in PROGRAMS)
    missing = [name for name in names if shutil.which(name) is None]
    return f"{text}, which has no {' and no '.join(missing)}." if missing else f"{text}."


def _translate_workflows(root: Path) -> Workflow:
    """Return the checks of all workflows, each with a name of its own."""
    from bassloop.project.workflows.translation import Workflow, translate_workflow

    def read(path: str) -> str | None:
        return _text(root / path) if ".." not in Path(path).parts else None

    together = Workflow()
    folder = root / ".github" / "workflows"
    for file in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
        text, path = _text(file) or "", str(file.relative_to(root))
        translated = translate_workflow(text, path, read=read)
        taken = {check.name for check in together.checks}
        if any(check.name in taken for check in translated.checks):
            translated = translate_workflow(text, path, f"{file.stem}-", read)
        together.checks += translated.checks
        together.left_out += translated.left_out
    return together


def _detected(root: Path) -> list[Proposal]:
    """Return the checks for the projects that are found."""
    proposals = _proposals(root)
    kinds = set(map(_kind, proposals))
    # What is of the same kind as the top is a part of that.
    return proposals + [each for each in _inner_proposals(root) if _kind(each) not in kinds]


def _proposals(folder: Path) -> list[Proposal]:
    from bassloop.project.proposals import propose_checks

    names = {each.name for each in _entries(folder)}
    return propose_checks(lambda name: _text(folder / name), names)


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing if it may not be read, or has gone."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _inner_proposals(folder: Path, prefix: str = "") -> Iterator[Proposal]:
    """Yield checks for the projects one folder down, and two where there is none in between."""
    for inner in _folders(folder):
        name = prefix + inner.name
        proposals = _proposals(inner)
        yield from (each.within(name) for each in proposals)
        if not proposals and not prefix:
            yield from _inner_proposals(inner, f"{name}/")


def _kind(proposal: Proposal) -> str:
    """Return the tool that a check's project is built with, if its image shows that."""
    image = proposal.image.partition(":")[0]
    return "node" if image == "oven/bun" else image


def _folders(root: Path) -> list[Path]:
    """Return the folders of a repository that may be projects of their own."""
    return sorted(
        each
        for each in _entries(root)
        if each.is_dir()
        and not each.is_symlink()
        and each.name[0].isalnum()
        and each.name.isprintable()  # others have no name in TOML
        and each.name not in NOT_PROJECTS
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


@click.command("eject")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False), default=".")
def eject(path: Path) -> None:
    """Translate the checks in .bassloop.toml to Bass, and print it.

    The loop evaluates this text for them. Written to project.bass, with [checks] removed
    from .bassloop.toml, it does the same, and is yours to change.

    \b
    Example:
      bassloop eject > project.bass
    """
    from bassloop.cli.errors import report_errors
    from bassloop.project import ChecksFileError, read_checks, write_bass
    from bassloop.tools.formatter import format_bass

    folder = find_checks_folder(path) or path
    file = path / CONFIG_FILE if folder == path.resolve() else folder / CONFIG_FILE
    if not file.is_file():
        why = explain_missing_checks(path.resolve())
        if script := find_script(folder):
            why = f"there is no {file}; the checks are in {folder / script}, which is Bass already"
        raise click.ClickException(why or f"there is no {file}; bassloop init writes one")
    with report_errors(ChecksFileError):
        checks = read_checks(file.read_bytes(), str(file))
    if not checks:
        raise click.ClickException(f"{file} declares no checks; add a [checks.NAME] with a run")
    text = write_bass(checks, comment=f"The checks of {CONFIG_FILE}, as Bass.")
    click.echo(format_bass(text), nl=False)
