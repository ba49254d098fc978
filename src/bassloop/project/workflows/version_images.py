"""The versions that a workflow asks for, and the images that have them. No I/O."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bassloop.project.manifests import parse_toml, table
from bassloop.project.workflows.known_actions import EXPRESSION, LANGUAGES, as_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PLAIN_VERSION = re.compile(r"\d+(\.\d+)*")
USUAL = ("stable", "lts", "lts/*", "latest", "current", "node")
"""Words for a usual version of a language."""

_LTS = dict(
    zip(
        (
            "argon",
            "boron",
            "carbon",
            "dubnium",
            "erbium",
            "fermium",
            "gallium",
            "hydrogen",
            "iron",
            "jod",
            "krypton",
        ),
        map(str, range(4, 26, 2)),
        strict=True,
    )
)
"""The names of Node's releases with long-term support, and their versions."""

_PYPY = re.compile(r"pypy-?(\d+\.\d+)(?:-v.*)?")
_RUST = re.compile(r"\d+(\.\d+)+|stable|beta|nightly(-[\d-]+)?")
_CHANNEL = re.compile(r"(beta|nightly)(-[\d-]+)?")


@dataclass(frozen=True, slots=True)
class VersionImage:
    """An image that has a version of a language.

    Args:
        commands: what installs the version if the image lacks it.
        env: the variables that choose it.
    """

    image: str
    commands: tuple[str, ...] = ()
    env: Mapping[str, str] | None = None


def find_image(language: str, version: str) -> VersionImage | None:
    """Return the image for a version; None if no image is known to have it.

    Args:
        language: the name of the language's image.
        version: as in a workflow, or a variable of a check's matrix, such as `${python}`.
    """
    if language == "python" and (pypy := _PYPY.fullmatch(version)):
        return VersionImage(f"pypy:{pypy[1]}")
    if language == "rust" and version == "stable":
        return VersionImage("rust:1")
    if language == "rust" and version == "nightly":
        return VersionImage("rustlang/rust:nightly")
    if language == "rust" and _CHANNEL.fullmatch(version):
        install = f"rustup toolchain install --profile minimal {version}"
        return VersionImage("rust:1", (install,), {"RUSTUP_TOOLCHAIN": version})
    plain = plain_version(version)
    is_known = PLAIN_VERSION.fullmatch(plain) or re.fullmatch(r"\$\{[\w-]+\}", plain)
    return VersionImage(f"{language}:{plain}") if is_known else None


@dataclass(frozen=True, slots=True)
class VersionAxis:
    """A name in a matrix whose values are versions of a language.

    Args:
        key: the input of the action that sets up the language.
        is_only_version: whether nothing but that input depends on the values.
    """

    language: str
    key: str
    is_only_version: bool

    def has(self, version: str) -> bool:
        """Return whether an image has a version, or a usual one may be taken for it."""
        return version in ("", *USUAL) or find_image(self.language, version) is not None

    def simplified(self, version: str) -> str:
        """Return the version as images are tagged, unless something else depends on how it's written."""
        plain = plain_version(version)
        is_same = self.is_only_version and PLAIN_VERSION.fullmatch(plain)
        return plain if is_same else version


def version_axes(job: Mapping[str, Any]) -> dict[str, VersionAxis]:
    """Return the names in a job's matrix that are versions of a language."""
    axes = {}
    steps = [table(step) for step in as_list(job.get("steps"))]
    for step in steps:
        action = str(step.get("uses", "")).partition("@")[0]
        name = "actions/setup-python" if action == "astral-sh/setup-uv" else action
        if name not in LANGUAGES:
            continue
        language, key, _ = LANGUAGES[name]
        whole = EXPRESSION.fullmatch(str(table(step.get("with")).get(key, "")).strip())
        if whole and (named := re.fullmatch(r"matrix\.([A-Za-z][\w-]*)", whole[1])):
            others = [each for each in steps if each is not step]
            used = rf"\bmatrix\.{named[1]}\b(?!-)"
            is_used = re.search(used, json.dumps([others, job.get("env")], default=str), re.I)
            axes[named[1]] = VersionAxis(language, key, is_used is None)
    return axes


def with_version_in_ref(uses: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the inputs of an action, with the version of Rust that `dtolnay/rust-toolchain@VERSION` means."""
    action, _, ref = uses.partition("@")
    if action != "dtolnay/rust-toolchain" or not _RUST.fullmatch(ref):
        return inputs
    return {"toolchain": ref, **inputs}


def rust_additions(inputs: Mapping[str, Any]) -> Iterator[str]:
    """Yield commands that add the targets and components that an action would install with Rust.

    Those that Cargo's commands need are added by `with_components`.
    """
    for kind in ("target", "component"):
        wanted = f"{inputs.get(f'{kind}s') or ''} {inputs.get(kind) or ''}"
        names = [name for name in re.split(r"[\s,]+", wanted) if re.fullmatch(r"[\w.-]+", name)]
        if names := [name for name in names if name not in ("clippy", "rustfmt")]:
            yield f"rustup {kind} add {' '.join(names)}"


def version_in_file(name: str, text: str | None) -> str | None:
    """Return the version that a file of the repository contains; None for files of other formats.

    Args:
        name: the file's name, such as go.mod or .nvmrc.
        text: the file's content, None if there is no such file.
    """
    pattern = (
        r"^go (\d+\.\d+)"
        if name.endswith(("go.mod", "go.work"))
        else r"\A\s*v?(\d+(?:\.\d+)*)\s*\Z"
    )
    found = re.search(pattern, text or "", re.MULTILINE)
    return found[1] if found else None


def rust_version(manifest: str | None) -> str | None:
    """Return the oldest version of Rust that the text of a Cargo.toml allows; None if it doesn't name one."""
    cargo = parse_toml(manifest)
    for part in (cargo.get("package"), table(cargo.get("workspace")).get("package")):
        minimum = str(table(part).get("rust-version", ""))
        if re.fullmatch(r"\d+(\.\d+)+", minimum):
            return minimum
    return None


def plain_version(version: str) -> str:
    """Return a version without the marks of a range, as images are tagged."""
    if version.startswith("lts/"):
        return _LTS.get(version.removeprefix("lts/").lower(), version)
    return version.removeprefix("v").removesuffix(".x").removeprefix("^").removeprefix("~")
