"""The advice at the end of a trial: for failures that aren't a check's fault, and for a trial without checks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from bassloop.cli.machine_advice import advise_installation, explain_old_programs, has_engine
from bassloop.lifecycle import RunState
from bassloop.project import ChecksFileError, compile_checks, pitfall_lines, read_checks
from bassloop.repository_files import CHECKS, CONFIG_FILE
from bassloop.tools.expected_checks import find_all_expected_checks
from bassloop.units import format_size
from bassloop.wire.conventions import CHECKOUT_IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bassloop.cli.trial_display import CheckResult
    from bassloop.tools.trial import Trial

_NO_NETWORK = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ENETUNREACH|[Cc]ould not resolve host|no such host|name resolution|"
    r"Name or service not known|FetchError: .*fetch failed|"
    r"[Nn]etwork is unreachable|dns error"
)
_NO_INSTALL = re.compile(
    r"/var/lib/apt/lists/partial is missing|/var/lib/(?:apt/lists|dpkg)/lock|"
    r"\.rustup/\S*: Read-only file system|EROFS: read-only file system"
)
_NO_UPDATE = re.compile(
    r"could not rename component \w+ from [^\n]{1,1000}[\n:][^\n]{0,100}cross-device link"
)
"""Matches rustup's error about a toolchain in a lower layer of an image or a sandbox, of which it can't move files."""


_APT_INSTALL = re.compile(r"\bapt(?:-get)? (?:-\S+ )*install((?: [\w.+-]+)+)")
_NO_SECRET = re.compile(r"the secret (\S+) (?:has no value on this runner|is not for )")
_NOT_STARTED = re.compile(r"uses the artifacts of (.+), which this event has not started before it")
_NO_SHELL = re.compile(r"""exec: "sh": executable file not found|executable file `sh` not found""")
_NO_INPUT = re.compile(
    r"EOFError: EOF when reading a line|could not read (?:Username|Password)|exit status \d+: sh -ec .?\s*read \w|"
    r"the input device is not a TTY|a terminal is required|[Nn]ot a (?:tty|terminal)|/dev/tty: No such device"
)
_FULL = re.compile(
    r"[Nn]o space left on device|ENOSPC|[Dd]isk quota exceeded|[Oo]ut of disk ?space|"
    r"disk of [^\n]* is (?:nearly )?full|disk is full"
)
_SUBMODULE = re.compile(r"into submodule path|^exit status \d+: git submodule", re.MULTILINE)
_SCRIPT = re.compile(r"(?<![\w/.])(?:\./)?(?P<path>\w[\w./-]*)")
_LACKING = re.compile(
    r"not found|there is no command|[Nn]o such file|No module named|Cannot find (?:module|package)|"
    r"ImportError|SyntaxError|cannot find -l|EBADENGINE|[Uu]nsupported engine|"
    r"requires (?:a different|go|Python|Node|rustc)|newer version|older version|unknown (?:option|flag)"
)
"""Matches errors about a missing program, or one of another version."""

_MISSING = re.compile(
    r"^(?:.*: )?(?P<program>[\w./+-]+): (?:command )?not found$|"
    r"there is no command (?P<named>\S+) on this|"
    r"there is no folder (?P<folder>\S+) in the files|"
    r"(?P<file>\S+) is a file, and is used as a folder|"
    r'exec: "(?P<quoted>[^"\n]+)": executable file not found|'
    r"executable file `(?P<ticked>[^`\n]+)` not found",
    re.MULTILINE,
)
EXPLAIN_CHECKOUT = f"{CHECKOUT_IMAGE} is the image of the loop's own step that fetches your code"
MAX_SCRIPT = 1 << 16
_HEADER = re.compile(r'\s*\[\s*checks\s*\.\s*(?:"(?P<quoted>[^"]+)"|(?P<plain>[\w-]+))\s*[\].]')


async def advise(results: Sequence[CheckResult], trial: Trial, causes: str) -> list[str]:
    """Return advice for failures that aren't a check's fault.

    Args:
        causes: why checks failed.
    """
    if all(each.run.state == RunState.NEUTRAL for each in results):
        return [await _explain_nothing(trial)]
    engine = trial.driver.kind if trial.driver is not None else "podman"
    messages = "\n".join(each.run.message or "" for each in results)
    if hints := explain_full_disk(f"{causes}\n{messages}", engine):
        return hints
    if any(each.lacks_image for each in results):
        checkout = f"{EXPLAIN_CHECKOUT}. " if CHECKOUT_IMAGE in causes else ""
        return [
            f"{checkout}Is the image's name right, and does its registry answer? If you need to log in: "
            f"{engine} login. --engine sandbox runs the commands with this machine's own programs, and says so"
        ]
    hints = []
    failed = [each for each in results if not each.passed and each.unused_images]
    if failed and _LACKING.search(causes):
        images = ", ".join(dict.fromkeys(image for each in failed for image in each.unused_images))
        hints.append(
            f"what failed ran with this machine's own programs, not in {images}: a program may be missing here, or "
            f"have another version. {_image_advice(trial.options.engine)}"
        )
    if failed:
        hints += await trio.to_thread.run_sync(
            explain_old_programs, partial(_read, trial.copy.source)
        )
    unsandboxed = trial.driver is not None and trial.driver.kind == "host"
    if unsandboxed and any(each.links_folder and not each.passed for each in results):
        hints.append(
            "without a sandbox, each command runs in a folder of its own, so what `pip install -e` installs isn't "
            "there for the next one: install without -e, do both in one command, or install bubblewrap"
        )
    if found := _NOT_STARTED.search(causes) if trial.options.checks else None:
        options = " ".join(
            f"--check {shlex.quote(name)}" for name in (found[1], *trial.options.checks)
        )
        hints.append(
            f"--check runs no check that isn't named, so name {found[1]} as well: {options}"
        )
    if names := list(dict.fromkeys(_NO_SECRET.findall(causes))):
        options = " ".join(f"--secret {name}" for name in names)
        hints.append(
            f"for this trial alone, set {' and '.join(names)} in the environment, and add {options}"
        )
    executables = await trial.copy.executables() if "Permission denied" in causes else {}
    hints += explain_scripts(trial.copy.source, causes, executables.get)
    if _SUBMODULE.search(causes):
        hints.append(
            "a submodule can't be cloned: a trial needs an address that anybody may clone, such as https://…. A local "
            "path, a relative address and one that needs your SSH key don't work"
        )
    hints += explain_surroundings(causes)
    return hints


def _read(folder: Path, name: str) -> str | None:
    try:
        return (folder / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def explain_full_disk(why: str, engine: str = "") -> list[str]:
    """Return where a trial needs room, if an error message says that a disk is full.

    Args:
        engine: what runs the commands.
    """
    if not _FULL.search(why):
        return []
    folder = tempfile.gettempdir()
    disk = shutil.disk_usage(folder)
    hints = [
        f"a trial's files are in {folder}, on a disk of {format_size(disk.total)}, of which {format_size(disk.free)} "
        "are free now: make room there, or set TMPDIR to a folder with more room"
    ]
    if engine in ("podman", "docker"):
        hints.append(
            f"images and containers need room, too: `{engine} system df` shows how much they take, and "
            f"`{engine} system prune` removes those that aren't used"
        )
    return hints


def explain_surroundings(causes: str) -> list[str]:
    """Return what a command lacked that no command has here: a shell in its image, an answer, or the network."""
    hints = []
    if _NO_SHELL.search(causes):
        hints.append(
            "the image has no shell, which a line of text needs: write the program and its arguments as a list, such "
            'as run = [["program", "argument"]], or choose another image'
        )
    if _NO_INSTALL.search(causes):
        names = dict.fromkeys(
            name
            for packages in _APT_INSTALL.findall(causes)
            for name in packages.split()
            if name[0] != "-"
        )
        apt = f": sudo apt-get install {' '.join(names)}" if names else ""
        hints.append(
            "a sandbox can't install programs or toolchains for the whole machine. Install what is missing yourself"
            f"{apt}. With Podman or Docker, the check installs it in its container"
        )
    if _NO_UPDATE.search(causes):
        hints.append(
            "rustup can't change a toolchain that an image contains, or that this machine shares with a sandbox. "
            "Choose an image with the version and the components that the check needs, or install a toolchain of "
            "another name, such as: rustup toolchain install --profile minimal nightly-2026-01-31"
        )
    if _NO_INPUT.search(causes) and not _SUBMODULE.search(causes):
        hints.append(
            "commands have no input and no terminal, so a question ends them: pass the answer as an option, such as "
            "--yes, or as a secret"
        )
    if _NO_NETWORK.search(causes):
        hints.append(
            "a command couldn't reach a host: is this machine online? Behind a proxy, set HTTPS_PROXY"
        )
    return hints


def _image_advice(engine: str) -> str:
    """Return what to do if a program is missing. Users who chose to run without images aren't told to use them."""
    if engine in ("sandbox", "host"):
        return "Install them here"
    if has_engine():
        return "The line `no containers: …` above says why no container engine is used"
    return f"{advise_installation()}, and it runs in its image"


async def _explain_nothing(trial: Trial) -> str:
    """Return what to do about a commit that declares no checks."""
    files = [name for name in CHECKS if (trial.copy.source / name).is_file()]
    if files and trial.options.committed:
        return f"HEAD has no checks: commit {files[0]}, or leave out --committed"
    for name in files:
        if not await trial.copy.includes(name):
            return (
                f"Git ignores {name}, so it isn't part of what is tried: take it out of .gitignore"
            )
    return "there are no checks yet: `bassloop init` writes some that fit the project"


async def explain_silence(trial: Trial) -> str:
    """Return why there is no check, and which events would start some."""
    tried = trial.options.event
    why = ", which GitHub sends for a push" if tried == "check_suite" else ""
    text = f"the hook started no check for the event {tried}{why}"
    root = trial.copy.source
    file = root / CONFIG_FILE
    declared = None
    with suppress(ChecksFileError):
        if file.is_file():
            declared = compile_checks(file.read_bytes())
    expectations = await find_all_expected_checks(root, declared=declared)
    others = [
        f"--event {sample.event} starts {', '.join(expected.names)}"
        for sample, expected in expectations
        if expected.names and sample.event != tried
    ]
    if not others:
        return f"{text}; --event tries another one, such as check_suite or pull_request"
    return f"{text}; {', and '.join(others)}"


def warn_of_pitfalls(root: Path) -> list[str]:
    """Return warnings about the declared checks of a folder; none if they can't be read, which the trial reports."""
    try:
        content = (root / CONFIG_FILE).read_bytes()
        return pitfall_lines(read_checks(content), content.decode("utf-8-sig"), CONFIG_FILE)
    except (OSError, ChecksFileError):
        return []


def explain_scripts(
    root: Path, why: str, is_executable: Callable[[str], bool | None] = lambda name: None
) -> list[str]:
    """Return what is wrong with those of the repository's scripts that error messages name.

    Args:
        root: the repository.
        why: why checks failed.
        is_executable: returns whether a file was executable in what was tried, None if that's unknown.
    """
    names = dict.fromkeys(found["path"] for found in _SCRIPT.finditer(why))
    found = (_explain_script(root, name, why, is_executable) for name in names if ".." not in name)
    return list(filter(None, found))


def _explain_script(
    root: Path, name: str, why: str, is_executable: Callable[[str], bool | None]
) -> str | None:
    path = root / name
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SCRIPT)
    except (OSError, ValueError):
        return None
    first, _, rest = text.partition(b"\n")
    is_script = first.startswith(b"#!") or name.endswith(".sh")
    if is_script and first.endswith(b"\r") and (rest or first != b"\r"):
        return (
            f"{name} has Windows line breaks, so that its commands end with a character that no program expects: "
            "save it with Unix line breaks, and add `*.sh text eol=lf` to .gitattributes"
        )
    if f"{name}: Permission denied" in why:
        if not os.access(path, os.X_OK):
            return f"{name} isn't executable: chmod +x {name}"
        if is_executable(name) is False:
            return (
                f"{name} is executable here, but not in Git, so it wouldn't be after a push either: "
                f"git update-index --chmod=+x {name}"
            )
        return (
            f"{name} is executable; if a trial's folder in {tempfile.gettempdir()} is mounted noexec, set TMPDIR to "
            "another one"
        )
    if f"{name}: not found" in why and is_script:
        program = first.removeprefix(b"#!").decode(errors="replace").strip()
        return f"{name} is there, but {program}, which its first line names, isn't"
    return None


def place_of_missing(root: Path, check: str, why: str) -> str | None:
    """Return where a check names a program or folder that doesn't exist, as FILE:LINE, or None if that's unknown.

    Args:
        check: its name.
        why: why it failed.
    """
    found = _MISSING.search(why)
    if found is None:
        return None
    program = next(filter(None, found.groups()))
    text = re.escape(program)
    if found["folder"] or found["file"]:
        text = rf"(?:\./)?{text}/?"
    word = re.compile(rf"(?<![\w./-]){text}(?![\w/-])")
    for name in CHECKS:
        with suppress(OSError):
            content = (root / name).read_text(encoding="utf-8", errors="replace")
            lines = _lines_of_check(content, check) if name == CONFIG_FILE else _lines(content)
            for number, line in lines:
                if word.search(line):
                    return f"{name}:{number}"
    return None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    yield from enumerate(text.splitlines(), 1)


def _lines_of_check(text: str, check: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a check's table. One of a matrix has its values after its name."""
    inside = False
    for number, line in _lines(text):
        if line.lstrip().startswith("["):
            header = _HEADER.match(line)
            name = (header["quoted"] or header["plain"]) if header else None
            inside = name is not None and (check == name or check.startswith(f"{name} ("))
        if inside:
            yield number, line
