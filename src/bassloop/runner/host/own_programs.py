"""The user's own programs and settings that commands on the host may use: PATH, toolchains in the home, and proxies.

Commands have a home of their own, in which they wouldn't find the programs of rustup or nvm. Folders with keys aren't
shared, nor what the user has configured or installed for their own work.

Folders are mounted read-only. Only rustup's home is put together for each command, which can install toolchains,
targets and components beside what the user has. What it installs is in its own home, and so in those of the commands
after it.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bassloop.runner.engine.mounts import BindMount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A version manager for a language.

    Args:
        folders: the folders that it needs, relative to the home.
        variable: the environment variable with the path of the last of `folders`.
        files: optional files in the home that it reads.
    """

    folders: tuple[str, ...]
    variable: str | None = None
    files: tuple[str, ...] = ()


TOOLCHAINS = (
    Toolchain((".cargo/bin", ".rustup"), "RUSTUP_HOME"),
    Toolchain((".pyenv",), "PYENV_ROOT"),
    Toolchain((".rbenv",), "RBENV_ROOT"),
    Toolchain((".nvm/versions",)),
    Toolchain((".local/share/fnm",)),
    Toolchain((".volta",), "VOLTA_HOME"),
    Toolchain((".asdf",), "ASDF_DATA_DIR", files=(".tool-versions",)),
    Toolchain((".local/share/mise",), "MISE_DATA_DIR"),
    Toolchain((".sdkman/candidates",)),
    Toolchain((".deno/bin",)),
    Toolchain((".bun/bin",)),
    Toolchain((".local/share/pnpm",)),
    Toolchain((".ghcup",)),
)

ENVIRONMENTS = ("VIRTUAL_ENV", "CONDA_PREFIX")
"""Variables that name an active Python environment."""

NETWORK = (
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    *(f"{kind}_proxy" for kind in ("http", "https", "all", "no")),
    *(f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL", "NO")),
)
"""Variables that programs may need to reach the network."""


@dataclass(frozen=True, slots=True)
class OwnPrograms:
    """The user's own programs that commands may use.

    Args:
        folders: mounted read-only at the same paths.
        shims: folders in these that a version manager writes to whenever something is installed; each command gets
            copies of its own.
        files: mounted read-only in the command's home.
        path: entries for the command's PATH.
        variables: variables for the toolchains and the network.
    """

    folders: tuple[Path, ...] = ()
    shims: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    path: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, environ: Mapping[str, str], shared: Sequence[str] = ()) -> OwnPrograms:
        """Return the programs of the user with this environment.

        Args:
            shared: folders that commands see anyway, so PATH entries in them can be used.
        """
        variables = {name: environ[name] for name in NETWORK if environ.get(name)}
        folders: list[Path] = []
        files: list[Path] = []
        for toolchain, installed in _installed(environ):
            folders += installed
            files += [Path(environ["HOME"]) / name for name in toolchain.files]
            if toolchain.variable is not None:
                variables[toolchain.variable] = str(installed[-1])
        entries = caller_path(environ).split(os.pathsep)
        visible = [*folders, *map(Path, shared)]
        path = [each for each in entries if any(Path(each).is_relative_to(at) for at in visible)]
        return cls(
            folders=tuple(folders),
            shims=tuple(each / "shims" for each in folders if (each / "shims").is_dir()),
            files=tuple(each for each in files if each.is_file()),
            path=tuple(dict.fromkeys(path)),
            variables=variables,
        )


def _installed(environ: Mapping[str, str]) -> Iterator[tuple[Toolchain, list[Path]]]:
    if not environ.get("HOME"):
        return
    for each in TOOLCHAINS:
        folders = [Path(environ["HOME"]) / folder for folder in each.folders]
        if each.variable is not None and environ.get(each.variable):
            folders[-1] = Path(environ[each.variable])
        if all(folder.is_dir() for folder in folders):
            yield each, folders


def caller_path(environ: Mapping[str, str]) -> str:
    """Return the caller's PATH without the folders of an active Python environment."""
    active = [Path(environ[name]) for name in ENVIRONMENTS if environ.get(name)]
    entries = environ.get("PATH", os.defpath).split(os.pathsep)
    kept = [each for each in entries if not any(Path(each).is_relative_to(env) for env in active)]
    return os.pathsep.join(kept)


# --- rustup's home -----------------------------------------------------------------------------------

_RUSTUP_LISTS = "lib/rustlib"
"""The folder of a toolchain in which rustup lists what the toolchain contains, in small files. Commands get copies."""
_RUSTUP_SHARED = ("", "bin", "lib", _RUSTUP_LISTS, "share", "share/doc")
"""The folders of a toolchain to which components add files of their own."""


def mount_rustup(user: Path, own: Path, inside: str) -> list[BindMount]:
    """Return mounts that make the user's toolchains part of a command's own home for rustup.

    Blocks for a few small files. Raises OSError, also if an earlier command has left a link in place of a folder.

    Args:
        user: the user's home for rustup.
        own: the command's, which may have been an earlier command's. It's created if it doesn't exist.
        inside: where the command has `own`.
    """
    toolchains = own / "toolchains"
    for folder in (own, toolchains):
        _make_folder(folder)
    _copy_new(user / "settings.toml", own)
    hashes = user / "update-hashes"
    if hashes.is_dir():
        _make_folder(own / hashes.name)
        for each in hashes.iterdir():
            _copy_new(each, own / hashes.name)
    mounts: list[BindMount] = []
    for each in sorted((user / "toolchains").glob("*")):
        there = toolchains / each.name
        if each.is_symlink():  # another name of a toolchain
            if not os.path.lexists(there):
                there.symlink_to(each.resolve().name)
        elif each.is_dir():
            mounts += _mount_toolchain(each, there, f"{inside}/toolchains/{each.name}")
    return mounts


def _mount_toolchain(toolchain: Path, own: Path, inside: str) -> Iterator[BindMount]:
    for folder in _RUSTUP_SHARED:
        if not (toolchain / folder).is_dir():
            continue
        _make_folder(own / folder)
        for each in sorted((toolchain / folder).iterdir()):
            name = f"{folder}/{each.name}".lstrip("/")
            if folder == _RUSTUP_LISTS and each.is_file():
                _copy_new(each, own / folder)
            elif name not in _RUSTUP_SHARED:
                yield BindMount(each, f"{inside}/{name}", read_only=True)


def _make_folder(path: Path) -> None:
    """Create a folder unless it exists. Raises OSError."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "a command has left a link in place of the folder", str(path))
    path.mkdir(exist_ok=True)


def _copy_new(file: Path, folder: Path) -> None:
    """Copy a file unless an earlier command has left something there."""
    if file.is_file() and not os.path.lexists(folder / file.name):
        shutil.copy(file, folder)
