"""The parts of GitHub Actions that are known: actions, services, local actions. No I/O."""

from __future__ import annotations

import itertools
import re
import shlex
from typing import TYPE_CHECKING, Any

import yaml

from bassloop.project.manifests import table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LANGUAGES = {
    "actions/setup-python": ("python", "python-version", "3.13"),
    "actions/setup-node": ("node", "node-version", "22"),
    "actions/setup-go": ("golang", "go-version", "1.23"),
    "actions/setup-java": ("eclipse-temurin", "java-version", "21"),
    "ruby/setup-ruby": ("ruby", "ruby-version", "3.3"),
    "dtolnay/rust-toolchain": ("rust", "toolchain", "1"),
    "actions-rs/toolchain": ("rust", "toolchain", "1"),
    "shivammathur/setup-php": ("php", "php-version", "8.4"),
    "oven-sh/setup-bun": ("oven/bun", "bun-version", "1"),
    "erlef/setup-beam": ("elixir", "elixir-version", "1.18"),
}
"""Actions that set up a language: an image that has it, the action's input for the version, and a common version."""

UBUNTU = "buildpack-deps:stable"
"""The image of a job that uses no language. There's no image of ubuntu-latest, which is too large."""

PREPARATIONS = {"erlef/setup-beam": ("mix local.hex --force && mix local.rebar --force",)}
"""Commands that do what an action does besides setting up its language."""

INSTALLS = {
    "astral-sh/setup-uv": "command -v uv || pip install uv",
    "snok/install-poetry": "pip install poetry",
    "autofix-ci/action": "git diff --exit-code",  # it fails if the steps before it changed a file
    "pre-commit/action": "pip install pre-commit && "
    "pre-commit run --show-diff-on-failure --color=always --all-files",
    "hynek/build-and-inspect-python-package": "pip install build twine && "
    "python3 -m build && twine check --strict dist/*",
}
"""Actions that install a program or do one thing, and commands for that."""

CACHES = {
    "astral-sh/setup-uv": {"uv": "/root/.cache/uv"},
    "node": {"npm": "/root/.npm"},
    "python": {"pip": "/root/.cache/pip"},
    # Not Cargo's: it locks its home, not the registry in it, so checks that share that break each other.
    "pip": {"pip": "/root/.cache/pip"},
    "npm": {"npm": "/root/.npm"},
    "yarn": {"yarn": "/usr/local/share/.cache/yarn"},
    "pnpm": {"pnpm": "/root/.local/share/pnpm/store"},
    "maven": {"maven": "/root/.m2"},
    "gradle": {"gradle": "/root/.gradle"},
    "golang": {"go-build": "/root/.cache/go-build", "go-mod": "/go/pkg/mod"},
}
"""The caches of package managers, images and actions."""

UPLOADS = {"hynek/build-and-inspect-python-package": {"name": "Packages", "path": "dist/"}}
"""Actions that upload what they make, and the inputs of actions/upload-artifact for that."""

SERVERS = {
    "postgres": ("docker-entrypoint.sh postgres", 5432),
    "mysql": ("docker-entrypoint.sh mysqld", 3306),
    "mariadb": ("docker-entrypoint.sh mariadbd", 3306),
    "redis": ("docker-entrypoint.sh redis-server", 6379),
    "mongo": ("docker-entrypoint.sh mongod", 27017),
    "rabbitmq": ("docker-entrypoint.sh rabbitmq-server", 5672),
    "memcached": ("docker-entrypoint.sh memcached", 11211),
}
"""Images of services: their command, which workflows don't mention, and their port."""

_PROGRAMS = {
    **dict.fromkeys(("cargo", "rustc", "rustup"), "rust:1"),
    **dict.fromkeys(("corepack", "node", "npm", "npx", "pnpm", "yarn"), "node:22"),
    "go": "golang:1.23",
    **dict.fromkeys(("pip", "pip3", "pytest", "python", "python3", "tox", "uv"), "python:3.13"),
    "bundle": "ruby:3.3",
}
"""Programs that ubuntu-latest has, and the images that have them. All of these contain a C compiler and make."""

_STARTED = re.compile(
    rf"(?:^|[;&|()]|\b(?:then|do|else)\b)[ \t]*(?:\w+=\S*[ \t]+)*({'|'.join(_PROGRAMS)})(?=\s|$)",
    re.MULTILINE,
)
_PIPX = re.compile(r"(?:^|[;&|(])[ \t]*pipx[ \t]", re.MULTILINE)
_COMPONENTS = {"clippy": "clippy", "fmt": "rustfmt"}
"""Cargo's commands that are components of their own, which Rust's images don't contain."""

EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_TOOLCHAIN = ("rustup toolchain install ", "rustup default ")
"""How commands begin that install a toolchain of Rust's."""

_INPUT = re.compile(r"\binputs\.([A-Za-z_][A-Za-z0-9_-]*)")


def local_steps(
    uses: str, inputs: Mapping[str, Any], read: Callable[[str], str | None]
) -> list[dict[str, Any]]:
    """Return the steps of an action in the repository, with the inputs inserted; none if it doesn't exist.

    Args:
        read: returns the text of a file of the repository, None if there is none.
    """
    folder = uses.partition("/")[2].strip("/")
    texts = (read(f"{folder}/{name}") for name in ("action.yml", "action.yaml"))
    action = table(parse_yaml(next(filter(None, texts), "")))
    declared = table(action.get("inputs"))
    values = {name: table(about).get("default", "") for name, about in declared.items()}
    values |= inputs

    def literal(match: re.Match[str]) -> str:
        text = values.get(match[1], "")
        text = str(text).lower() if isinstance(text, bool) else str(text)
        return "'" + text.replace("'", "''") + "'"

    def put_in(value: object, key: object = None) -> Any:
        match value:
            case str() if key == "if":
                return _INPUT.sub(literal, value)
            case str():
                return EXPRESSION.sub(
                    lambda match: (
                        str(values.get(whole[1], ""))
                        if (whole := _INPUT.fullmatch(match[1]))
                        else _INPUT.sub(literal, match[0])
                    ),
                    value,
                )
            case dict():
                return {name: put_in(each, name) for name, each in value.items()}
            case list():
                return [put_in(each) for each in value]
        return value

    return [table(put_in(step)) for step in as_list(table(action.get("runs")).get("steps"))]


def usual_image(script: str) -> str | None:
    """Return the image for the first known program that a script starts; None if it starts none of them."""
    started = _STARTED.search(script)
    return _PROGRAMS[started[1]] if started else None


def with_components(commands: Sequence[Any], script: str) -> list[Any]:
    """Return commands that also install the components that a script uses, unless they are there.

    They're added to the toolchain that the first commands install, if any do.
    """
    installs = itertools.takewhile(lambda each: str(each).startswith(_TOOLCHAIN), commands)
    first = len(list(installs))
    components = [
        f"cargo {command} --version || rustup component add {component}"
        for command, component in _COMPONENTS.items()
        if re.search(rf"\bcargo (?:\+\S+ )?{command}\b", script)
    ]
    return [*commands[:first], *components, *commands[first:]]


def missing_programs(image: str, script: str) -> list[str]:
    """Return commands that install the programs of ubuntu-latest that a script starts and an image lacks."""
    lacks_pipx = image.startswith(("python:", "pypy:")) and _PIPX.search(script)
    return ["command -v pipx || pip install pipx"] if lacks_pipx else []


def installing_command(uses: str, inputs: Mapping[str, Any]) -> str | None:
    """Return a command that does what an action does that installs programs; None for other actions."""
    action, _, ref = uses.partition("@")
    if action == "pnpm/action-setup":
        return _set_up_pnpm(inputs)
    if action == "dtolnay/install":
        crates = [ref]
    elif action == "taiki-e/install-action":
        crates = re.split(r"[\s,]+", str(inputs.get("tool", ref)))
    else:
        return INSTALLS.get(action)
    crates = [crate for crate in crates if re.fullmatch(r"[a-z][\w-]*(@[\w.]+)?", crate)]
    return " && ".join(
        f"(command -v {crate.partition('@')[0]} || cargo install --locked {crate})"
        for crate in crates
    )


def _set_up_pnpm(inputs: Mapping[str, Any]) -> str:
    """Return a command that installs pnpm, and what the input `run_install` means: false, true, or YAML text."""
    version = str(inputs.get("version", ""))
    install = "npm install --global pnpm"
    install += f"@{version}" if re.fullmatch(r"\d+(\.\d+)*", version) else ""
    wanted = inputs.get("run_install")
    try:
        wanted = yaml.safe_load(wanted) if isinstance(wanted, str) else wanted
    except yaml.YAMLError:
        wanted = True
    if not wanted:
        return install
    calls = []
    for each in map(table, wanted if isinstance(wanted, list) else [wanted]):
        words = ["pnpm", "recursive"] if each.get("recursive") else ["pnpm"]
        words += ["install", *(shlex.quote(str(word)) for word in as_list(each.get("args")))]
        folder = str(each.get("cwd", ""))
        calls.append(
            f"(cd {shlex.quote(folder)} && {' '.join(words)})" if folder else " ".join(words)
        )
    return " && ".join([install, *calls])


_GLOBAL_BUN = re.compile(r"\bbun (?:add|i|install) [^\n;&|]*(?:-g|--global)\b")


def bun_beside_node(scripts: str) -> str:
    """Return a command that installs Bun with npm, and lets it install programs to the same folder as npm."""
    install = "command -v bun || npm install --global bun"
    if not _GLOBAL_BUN.search(scripts):
        return install
    setting = '[install]\\nglobalBinDir = "%s/bin"\\n'
    return f"({install}) && printf '{setting}' \"$(npm prefix --global)\" >~/.bunfig.toml"


def explain_left_out(uses: str) -> str:
    """Return a note about an action that isn't known, with what to do if later steps need what it sets up."""
    name = uses.partition("@")[0]
    if re.search(r"(^|[/-])setup\b", name):
        return f"the action {uses} is left out: choose an image that has what it sets up, or install that"
    return f"the action {uses} is left out"


def uploads_of(job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the inputs of a job's uploads."""
    found: list[Mapping[str, Any]] = []
    for step in map(table, as_list(job.get("steps"))):
        action = str(step.get("uses", "")).partition("@")[0]
        if action == "actions/upload-artifact":
            found.append(table(step.get("with")))
        elif action in UPLOADS:
            found.append(UPLOADS[action])
    return found


_NEEDS = re.compile(r"\$\{\{\s*toJSON\(\s*needs\s*\)\s*\}\}", re.IGNORECASE)


def examines_needs(step: Mapping[str, Any]) -> bool:
    """Return whether a step looks at the results of the jobs that its job needs."""
    return bool(_NEEDS.search(f"{step.get('run')} {step.get('env')} {step.get('with')}"))


def uploaded_patterns(inputs: Mapping[str, Any]) -> list[str]:
    """Return the patterns of the files that an upload contains. A path without a suffix is assumed to be a folder."""
    found = []
    for line in str(inputs.get("path", "")).splitlines():
        path = line.strip().removeprefix("./")
        last = path.rstrip("/").rpartition("/")[2]
        if path and not path.startswith("!"):
            is_folder = path.endswith("/") or not set(last) & set(".*?$")
            found.append(f"{path.rstrip('/')}/**" if is_folder else path)
    return found


def default_folder(job: Mapping[str, Any], workflow: Mapping[str, Any]) -> str:
    """Return the folder in which a job's steps run that name none; "" for the top of the repository."""
    runs = [table(table(each.get("defaults")).get("run")) for each in (job, workflow)]
    return next((str(run["working-directory"]) for run in runs if "working-directory" in run), "")


_LEAVES = re.compile(r"\.\.(?=[/\s\"']|$)|\bgit\b|\bgithub\.|\bGITHUB_WORKSPACE\b")
_FROM_THE_TOP = ("./", "$/", "actions/upload-artifact@", "actions/download-artifact@")
"""Actions that run at the top of the repository, or whose paths begin there, whatever a job's default folder is."""


def leaves_folder(steps: Sequence[object]) -> bool:
    """Return whether steps may use files outside of their job's default folder.

    A check with a `workdir` has only the files in that folder, without the repository's `.git`.
    """
    return any(
        "working-directory" in step
        or str(step.get("uses", "")).startswith(_FROM_THE_TOP)
        or _LEAVES.search(str(step.get("run", "")))
        for step in map(table, steps)
    )


def as_list(value: object) -> list[Any]:
    """Return a YAML value if it's a list, otherwise a list of it; an empty one for null."""
    return value if isinstance(value, list) else [] if value is None else [value]


def parse_yaml(text: str) -> object:
    """Return the value of a YAML document; None if it's invalid."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
