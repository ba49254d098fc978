"""Propose checks for a project, from the files at its root.

There is a function for each kind of project, which yields proposals if it recognizes one. Proposals are meant to be
edited. They prefer the project's own commands (package.json's scripts, for example) to those that are usual for its
kind.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bassloop.project.manifests import (
    parse_toml,
    pinned_version,
    read_node_project,
    table,
    version_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Proposal:
    """A check to declare.

    Args:
        why: the file or setting that the proposal is based on, for a comment.
        run: command lines for the shell, or programs with their arguments.
        notes: comments for readers of the declaration.
    """

    name: str
    why: str
    image: str
    run: tuple[str | tuple[str, ...], ...]
    caches: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    matrix: Mapping[str, list[str]] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    timeout: str = ""
    when: Mapping[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def within(self, folder: str) -> Proposal:
        """Return the same check for a project in a folder of the repository."""
        return replace(
            self,
            name=f"{folder.replace('/', '-')}-{self.name}",
            why=f"{folder}/{self.why}",
            workdir=folder,
        )


def propose_checks(read: Callable[[str], str | None], names: set[str]) -> list[Proposal]:
    """Return proposals for a project's first checks; none if no kind of project is recognized.

    Args:
        read: returns the text of a file at the root, None if there is none.
        names: the names of all files and folders at the root.
    """
    found: dict[str, Proposal] = {}
    for propose in (
        *(_python, _javascript, _go, _rust, _java, _ruby, _php, _elixir),
        *(_c, _make, _shell),
    ):
        for proposal in propose(read, names):
            name = proposal.name
            if name in found:
                name = f"{name}-{propose.__name__.strip('_')}"
            found.setdefault(name, replace(proposal, name=name))
    return list(found.values())


_TEST_FILE = re.compile(r"test_.*\.py|.*_test\.py")


def _python(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    project = parse_toml(read("pyproject.toml"))
    marks = {"pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "tox.ini"} & names
    if not marks:
        return
    why, cache = sorted(marks)[0], {"pip": "/root/.cache/pip"}
    version = pinned_version("python", read) or _python_version(project)
    image = f"python:{version}-slim"
    install = _python_install(project, read, names)
    text = (
        json.dumps(project, default=str)
        + (read("requirements.txt") or "")
        + (read("tox.ini") or "")
    )
    has_tests = {"tests", "test", "conftest.py"} & names or any(map(_TEST_FILE.match, names))
    if "pytest" in text or "tests" in names or "conftest.py" in names:
        tests = "pip install pytest && python3 -m pytest"
        yield Proposal("test", why, image, (*install, tests), cache)
    elif has_tests or "unittest" in text:
        tests = "python3 -m unittest discover -v"
        yield Proposal("test", why, image, (*install, tests), cache)
    elif install:  # unittest fails if there are no tests
        yield Proposal("build", why, image, (*install, "python3 -m compileall -q ."), cache)
    tools = table(project.get("tool"))
    if "ruff" in tools or "ruff.toml" in names or ".ruff.toml" in names:
        yield Proposal(
            "lint", "ruff's settings", image, ("pip install ruff", "ruff check ."), cache
        )
    elif "flake8" in text or ".flake8" in names:
        yield Proposal("lint", "flake8's settings", image, ("pip install flake8", "flake8"), cache)
    if "mypy" in tools or "mypy.ini" in names:
        wanted = {"files", "packages", "modules"} & table(tools.get("mypy")).keys()
        package = re.sub(r"[-.]+", "_", str(_within(project, "project", "name") or "")).lower()
        folder = next((each for each in ("src", package) if each in names), ".")
        types = "mypy" if wanted else f"mypy {folder}"
        yield Proposal(
            "types", "mypy's settings", image, (*install, "pip install mypy", types), cache
        )


def _python_version(project: Mapping[str, Any]) -> str:
    wanted = str(_within(project, "project", "requires-python") or "")
    upper = re.search(r"<\s*3\.(\d{1,9})", wanted)
    return f"3.{min(int(upper[1]) - 1, 13)}" if upper else "3.13"


def _python_install(
    project: Mapping[str, Any], read: Callable[[str], str | None], names: set[str]
) -> list[str]:
    commands = []
    for name in (
        "requirements.txt",
        "requirements-dev.txt",
        "requirements_dev.txt",
        "dev-requirements.txt",
    ):
        if name in names:
            commands.append(f"pip install -r {name}")
    if "project" in project or {"setup.py", "setup.cfg"} & names or "build-system" in project:
        extras = table(_within(project, "project", "optional-dependencies"))
        wanted = [extra for extra in ("test", "tests", "testing", "dev") if extra in extras][:1]
        commands.append(f'pip install ".[{wanted[0]}]"' if wanted else "pip install .")
        groups = table(project.get("dependency-groups"))
        group = next((each for each in ("test", "tests", "testing", "dev") if each in groups), None)
        if group:  # older versions of pip don't support groups
            commands.append(f"pip install --upgrade pip && pip install --group {group}")
    return commands


def _javascript(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    project = read_node_project(read)
    if project is None:
        return
    for script in ("test", "lint", "typecheck", "build"):
        command = str(project.scripts.get(script, ""))
        if command and "no test specified" not in command:
            why = f"package.json's script {script}"
            commands = (project.install, f"{project.run} {script}")
            yield Proposal(script, why, project.image, commands, project.caches)


def _go(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    if "go.mod" not in names:
        return
    version = re.search(r"^go (\d+\.\d+)", read("go.mod") or "", re.M)
    image = f"golang:{max(version[1], '1.23', key=version_numbers)}" if version else "golang:1.23"
    if pinned := pinned_version("go", read):
        image = f"golang:{pinned}"
    caches = {"go-build": "/root/.cache/go-build", "go-mod": "/go/pkg/mod"}
    yield Proposal("test", "go.mod", image, ("go test ./...",), caches)
    yield Proposal("vet", "go.mod", image, ("go vet ./...",), caches)


def _rust(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    if "Cargo.toml" not in names:
        return
    # Without a cache: Cargo locks its home, not the registry in it, so checks that shared that would break each other.
    whole = " --workspace" if "workspace" in parse_toml(read("Cargo.toml")) else ""
    image = f"rust:{pinned_version('rust', read, parts=3) or '1'}"
    yield Proposal("test", "Cargo.toml", image, (f"cargo test{whole}",))
    yield Proposal(
        "clippy",
        "Cargo.toml",
        image,
        (
            "cargo clippy --version || rustup component add clippy",
            f"cargo clippy{whole} --all-targets",
        ),
    )


def _java(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    java = pinned_version("java", read, parts=1) or "21"
    if "pom.xml" in names:
        command = "./mvnw" if "mvnw" in names else "mvn"
        yield Proposal(
            "test",
            "pom.xml",
            f"maven:3-eclipse-temurin-{java}",
            (f"{command} -B -ntp verify",),
            {"maven": "/root/.m2"},
        )
    elif {"build.gradle", "build.gradle.kts"} & names:
        command = "./gradlew" if "gradlew" in names else "gradle"
        yield Proposal(
            "test",
            "build.gradle",
            f"gradle:8-jdk{java}",
            (f"{command} --no-daemon check",),
            {"gradle": "/root/.gradle"},
        )


def _ruby(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    if "Gemfile" not in names and not any(name.endswith(".gemspec") for name in names):
        return
    tests = "bundle exec rspec" if {"spec", ".rspec"} & names else "bundle exec rake test"
    image = f"ruby:{pinned_version('ruby', read) or '3.3'}"
    yield Proposal(
        "test", "Gemfile", image, ("bundle install", tests), {"bundle": "/usr/local/bundle"}
    )


def _php(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    if "composer.json" not in names:
        return
    text = read("composer.json") or ""
    image, caches = "composer:2", {"composer": "/tmp/cache"}  # noqa: S108
    install = "composer install --no-interaction --no-progress"
    if re.search(r'"test"\s*:\s*["\[]', text):
        yield Proposal(
            "test", "composer.json's script test", image, (install, "composer run test"), caches
        )
    elif "phpunit.xml" in names or "phpunit.xml.dist" in names or '"phpunit/phpunit"' in text:
        yield Proposal("test", "composer.json", image, (install, "vendor/bin/phpunit"), caches)
    else:
        yield Proposal(
            "validate",
            "composer.json, as there seem to be no tests",
            image,
            ("composer validate --strict --no-check-publish",),
            caches,
        )


def _elixir(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    if "mix.exs" not in names:
        return
    image = f"elixir:{pinned_version('elixir', read) or '1.18'}"
    install = "mix local.hex --force && mix local.rebar --force && mix deps.get"
    if "test" in names:
        yield Proposal("test", "mix.exs", image, (install, "mix test"), {"mix": "/root/.mix"})
    yield Proposal(
        "compile",
        "mix.exs",
        image,
        (install, "mix compile --warnings-as-errors"),
        {"mix": "/root/.mix"},
    )


_CTEST = re.compile(
    r"^[ \t]*(?:enable_testing|add_test|include)\s*\(\s*(?!GNUInstallDirs|CMake|Check|FetchContent)",
    re.IGNORECASE | re.MULTILINE,
)
"""What makes tests known to CTest, perhaps in a file of the project that is included."""

_TEST_OPTION = re.compile(
    r"^[ \t]*option\s*\(\s*(\w*(?:BUILD|ENABLE|WITH)_(?:\w+_)?TEST(?:S|ING)?)\s+\"[^\"]*\"\s+OFF\b",
    re.IGNORECASE | re.MULTILINE,
)
"""An option that includes the tests in the build, and is off by default."""


def _c(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    if "CMakeLists.txt" in names:
        text = read("CMakeLists.txt") or ""
        options = "".join(f" -D{name}=ON" for name in dict.fromkeys(_TEST_OPTION.findall(text)))
        build = (
            _installing("cmake", "ninja", packages="cmake ninja-build"),
            f"cmake -G Ninja -S . -B build{options}",
            "cmake --build build",
        )
        if _CTEST.search(text):
            test = "ctest --test-dir build --output-on-failure --no-tests=error"
            yield Proposal("test", "CMakeLists.txt", "gcc:14", (*build, test))
        else:
            why = "CMakeLists.txt, which has no tests for CTest"
            yield Proposal("build", why, "gcc:14", build)
    elif "meson.build" in names:
        yield Proposal(
            "test",
            "meson.build",
            "gcc:14",
            (
                _installing("meson", "ninja", packages="meson ninja-build"),
                "meson setup build",
                "meson test -C build --print-errorlogs",
            ),
        )
    elif "configure" in names and {"Makefile.in", "Makefile.am"} & names:
        yield Proposal("test", "configure", "gcc:14", ("./configure", "make", "make check"))


def _installing(*programs: str, packages: str) -> str:
    """Return a command that installs Debian packages if a program is missing."""
    there = " && ".join(f"command -v {program}" for program in programs)
    return f"{there} || (apt-get update && apt-get install -y --no-install-recommends {packages})"


def _make(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    """Use the Makefile of a project of which no other kind is recognized."""
    others = {
        "pyproject.toml",
        "setup.py",
        "package.json",
        "go.mod",
        "Cargo.toml",
        "CMakeLists.txt",
        "pom.xml",
    }
    makefile = next(
        (name for name in ("GNUmakefile", "makefile", "Makefile") if name in names), None
    )
    if makefile is None or others & names:
        return
    targets = set(re.findall(r"^([A-Za-z][\w-]*)\s*:(?!=)", read(makefile) or "", re.M))
    target = next((each for each in ("test", "check", "tests") if each in targets), None)
    if target:
        yield Proposal("test", f"{makefile}'s target {target}", "gcc:14", (f"make {target}",))
    elif "all" in targets or targets:
        yield Proposal("build", makefile, "gcc:14", ("make",))


def _shell(read: Callable[[str], str | None], names: set[str]) -> Iterator[Proposal]:
    for name in ("test.sh", "run_tests.sh", "run-tests.sh"):
        if name in names:
            yield Proposal("test", name, "debian:stable-slim", (f"sh {name}",))
            return


def write_declaration(proposals: list[Proposal], left_out: Sequence[str] = ()) -> str:
    """Return the text of a file that declares proposals.

    Args:
        left_out: comments for the top: what has no check, and why.
    """
    lines = [
        "# What Bass Loop checks, on the machine of whoever pushes.",
        "# Try it here: bassloop try",
        *(_comment(f"left out: {reason}") for reason in left_out),
    ]
    for proposal in proposals:
        name = f"checks.{_key(proposal.name)}"
        lines += ["", f"[{name}]   {_comment(f'for {proposal.why}')}"]
        lines += [_comment(f"- {note}") for note in proposal.notes]
        commands = [_literal(command) for command in proposal.run]
        declared = {
            "image": _literal(proposal.image),
            "workdir": _literal(proposal.workdir),
            "run": commands[0]
            if len(commands) == 1 and isinstance(proposal.run[0], str)
            else "\n".join(["[", *(f"    {command}," for command in commands), "]"]),
        }
        parts = (
            "matrix",
            "caches",
            "env",
            "secrets",
            "needs",
            "uses",
            "artifacts",
            "timeout",
            "when",
        )
        declared |= {part: _literal(getattr(proposal, part)) for part in parts}
        lines += [f"{key} = {text}" for key, text in declared.items() if text not in EMPTY]
        for service_name, service in proposal.services.items():
            lines += ["", f"[{name}.services.{_key(service_name)}]"]
            settings = {key: _literal(value) for key, value in service.items()}
            lines += [f"{key} = {text}" for key, text in settings.items() if text not in EMPTY]
    # Some escapes of YAML and JSON stand for half of a character, of which UTF-8 has only whole ones.
    text = "\n".join(lines) + "\n"
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


EMPTY = ('""', "[]", "{}")


def _comment(text: str) -> str:
    """Return a comment of one line, without the control characters that TOML doesn't allow there."""
    return "# " + "".join(filter(str.isprintable, " ".join(text.split())))


def _literal(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{_key(name)} = {_literal(each)}" for name, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return json.dumps(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _escaped(name)


def _quoted(text: str) -> str:
    plain = text.isprintable() or ("\n" in text and text.replace("\n", "").isprintable())
    if plain and "\n" in text and "'''" not in text and not text.endswith("'"):
        return f"'''\n{text}'''"
    if plain and "\n" not in text and '"' in text and "'" not in text:
        return f"'{text}'"
    return _escaped(text)


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _within(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
