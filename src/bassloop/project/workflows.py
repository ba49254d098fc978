"""Propose checks from GitHub Actions' workflows. Pure, no I/O.

A job becomes a check, and its `run:` steps become commands. Of the actions, those that everybody uses are known: check
out, set up a language, cache, upload and download. All that can't be translated is told in the proposal's notes, or
among what was left out, so that nobody takes a check for more than it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from bassloop.project.detection import Proposal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EVENTS = ("push", "pull_request", "merge_group")
IMAGE = "buildpack-deps:stable"
"""The image of a job that sets up no language; ubuntu-latest is too large to have one."""

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
}
"""Actions that set up a language: the image that has it, the action's input for the version, and a usual one."""

INSTALLS = {
    "astral-sh/setup-uv": "command -v uv || pip install uv",
    "snok/install-poetry": "pip install poetry",
    "pnpm/action-setup": "npm install --global pnpm",
}
CACHES = {
    "pip": {"pip": "/root/.cache/pip"},
    "npm": {"npm": "/root/.npm"},
    "yarn": {"yarn": "/usr/local/share/.cache/yarn"},
    "pnpm": {"pnpm": "/root/.local/share/pnpm/store"},
    "maven": {"maven": "/root/.m2"},
    "gradle": {"gradle": "/root/.gradle"},
    "golang": {"go-build": "/root/.cache/go-build", "go-mod": "/go/pkg/mod"},
}
SERVERS = {
    "postgres": ("docker-entrypoint.sh postgres", 5432),
    "mysql": ("docker-entrypoint.sh mysqld", 3306),
    "mariadb": ("docker-entrypoint.sh mariadbd", 3306),
    "redis": ("docker-entrypoint.sh redis-server", 6379),
    "mongo": ("docker-entrypoint.sh mongod", 27017),
    "rabbitmq": ("docker-entrypoint.sh rabbitmq-server", 5672),
    "memcached": ("docker-entrypoint.sh memcached", 11211),
}
"""Images of services: their command, which a workflow needn't tell, and their port."""

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_NAMED = re.compile(r"(matrix|secrets|env)\.([A-Za-z_][A-Za-z0-9_-]*)")
_BASH = re.compile(r"\[\[|pipefail|<<<|<\(|=\(|\bsource |\bfunction ")
_ALWAYS = re.compile(r"(\$\{\{\s*)?(always|success|!\s*cancelled)\(\)(\s*\}\})?")


@dataclass
class Workflow:
    """A workflow, translated.

    Args:
        left_out: what has no check, with the reason.
    """

    checks: list[Proposal] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def translate_workflow(text: str, path: str, prefix: str = "") -> Workflow:
    """Return the checks that a workflow means.

    Args:
        path: the file's, for what is said of it.
        prefix: begins the name of each check.
    """
    translated = Workflow()
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        translated.left_out.append(f"{path}: this is not YAML")
        return translated
    data = _table(content)
    # YAML 1.1 reads a bare `on` as true.
    events = _events(data.get("on", data.get(True)))
    started = [name for name in EVENTS if name in events]
    if not started:
        names = ", ".join(map(str, events)) or "nothing"
        translated.left_out.append(f"{path}: it runs on {names}, not on pushes or pull requests")
        return translated
    jobs = {f"{prefix}{name}": _table(job) for name, job in _table(data.get("jobs")).items()}
    for name, job in jobs.items():
        if reason := _reason_to_leave_out(job):
            translated.left_out.append(f"{path}: job {name}: {reason}")
        else:
            translated.checks.append(
                _WorkflowJob(name, path, data, job, jobs, events, prefix).proposal()
            )
    there = {check.name for check in translated.checks}
    for check in translated.checks:
        missing = [need for need in (*check.needs, *check.uses) if need not in there]
        if missing:
            check.notes.append(f"needs {', '.join(missing)}, which was left out")
            check.needs[:] = [need for need in check.needs if need in there]
            check.uses[:] = [use for use in check.uses if use in there]
    return translated


def _events(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return {str(name): options for name, options in value.items()}
    return {str(name): None for name in (value if isinstance(value, list) else [value]) if name}


def _reason_to_leave_out(job: Mapping[str, Any]) -> str | None:
    """Return why a job has no check; None if it gets one."""
    if "uses" in job:
        return f"it is the reusable workflow {job['uses']}"
    if "if" in job and not _ALWAYS.fullmatch(str(job["if"]).strip()):
        return f"it only runs if {job['if']}"
    if "environment" in job:
        return "it deploys to an environment"
    system = str(job.get("runs-on", ""))
    if "windows" in system or "macos" in system:
        return f"it runs on {system}"
    return None


class _WorkflowJob:
    """A job that is being translated."""

    def __init__(
        self,
        name: str,
        path: str,
        workflow: Mapping[str, Any],
        job: Mapping[str, Any],
        jobs: Mapping[str, Mapping[str, Any]],
        events: Mapping[str, Any],
        prefix: str,
    ) -> None:
        self._path, self._workflow, self._job, self._jobs = path, workflow, job, jobs
        self._events, self._prefix = events, prefix
        self._notes: dict[str, None] = {}
        self._secrets: dict[str, None] = {}
        self._aliases: dict[str, str] = {}
        self._caches: dict[str, str] = {}
        self._artifacts: list[str] = []
        self._uses: dict[str, None] = {}
        self._image: str | None = None
        self._name = name
        self._matrix = self._read_matrix()

    def proposal(self) -> Proposal:
        """Return the job's check."""
        job = self._job
        env = self._variables(self._workflow.get("env")) | self._variables(job.get("env"))
        container = job.get("container")
        image = _table(container).get("image") if isinstance(container, dict) else container
        exported = dict(self._aliases)
        commands = [
            command
            for step in _list(job.get("steps"))
            for command in self._commands(_table(step), exported)
        ]
        if not commands:
            self._notes["no step has a command that could be translated"] = None
            commands = ["echo 'write the commands of this job here' >&2; exit 1"]
        image = self._text(str(image)) if image else self._image
        if image is None:
            self._notes[f"ubuntu-latest has programs that {IMAGE} hasn't"] = None
        defaults = _table(_table(job.get("defaults", self._workflow.get("defaults"))).get("run"))
        minutes = job.get("timeout-minutes")
        needs = [f"{self._prefix}{need}" for need in _list(job.get("needs"))]
        services = dict(self._services())
        return Proposal(
            self._name,
            f"{self._path}",
            image or IMAGE,
            tuple(commands),
            self._caches,
            str(defaults.get("working-directory", "")),
            matrix=self._matrix,
            env=env,
            secrets=list(self._secrets),
            services=services,
            needs=[need for need in needs if need not in self._uses],
            uses=list(self._uses),
            artifacts=self._artifacts,
            timeout=f"{minutes}m" if isinstance(minutes, int) else "",
            when=self._when(),
            notes=list(self._notes),
        )

    def _read_matrix(self) -> dict[str, list[str]]:
        strategy = _table(self._job.get("strategy"))
        if isinstance(strategy.get("matrix"), str):
            self._notes["its matrix is computed by another job"] = None
        matrix = {}
        for name, values in _table(strategy.get("matrix")).items():
            scalars = [
                str(value) for value in _list(values) if isinstance(value, (str, int, float))
            ]
            if name in ("include", "exclude"):
                self._notes[f"the matrix's {name} is left out"] = None
            elif scalars and all("ubuntu" in each or "-latest" in each for each in scalars):
                if any("ubuntu" not in each for each in scalars):
                    self._notes[f"only Linux, not all of {name}: {', '.join(scalars)}"] = None
            elif scalars and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", str(name)):
                matrix[str(name)] = scalars
            else:
                self._notes[f"the matrix's {name} is left out"] = None
        return matrix

    def _when(self) -> dict[str, list[str]]:
        """Return the condition on events and branches; where in doubt, a check runs more often."""
        started = [name for name in EVENTS if name in self._events]
        when = {} if {"push", "pull_request"} <= set(started) else {"events": started}
        options = [_table(self._events[name]) for name in started]
        branches = [_list(each.get("branches")) for each in options]
        if branches[0] and all(each == branches[0] for each in branches):
            when["branches"] = [str(each) for each in branches[0]]
        if any(each.keys() & {"paths", "paths-ignore", "branches-ignore"} for each in options):
            self._notes["paths and branches-ignore are left out: it runs for every change"] = None
        return when

    def _commands(self, step: Mapping[str, Any], exported: Mapping[str, str]) -> Iterator[Any]:
        if "if" in step and not _ALWAYS.fullmatch(str(step["if"]).strip()):
            what = (
                step.get("name") or step.get("uses") or str(step.get("run", "")).partition("\n")[0]
            )
            self._notes[f"step {str(what)!r} only runs if {step['if']}; it is left out"] = None
            return
        if "uses" in step:
            yield from self._action(str(step["uses"]), _table(step.get("with")))
        if "run" not in step:
            return
        before = dict(exported)
        fixed = self._variables(step.get("env"), into=before)
        script = self._text(str(step["run"]).strip())
        if re.search(r"GITHUB_(ENV|PATH|OUTPUT)\b|::set-output", script):
            self._notes[
                "what a step writes to $GITHUB_ENV or $GITHUB_OUTPUT reaches no other step"
            ] = None
        lines = [f'export {name}="${value}"' for name, value in before.items()]
        lines += [f"export {name}={_quoted(value)}" for name, value in fixed.items()]
        if folder := step.get("working-directory"):
            lines.append(f"cd {_quoted(self._text(str(folder)))}")
        script = "\n".join([*lines, script])
        shell = str(step.get("shell", "")).split()[:1]
        if step.get("continue-on-error") is True:
            script = f"(\n{script}\n) || true" if "\n" in script else f"({script}) || true"
        if shell and shell[0] in ("python", "pwsh", "powershell", "cmd", "node"):
            if shell[0] != "python":
                self._notes[f"a step for the shell {shell[0]} is left out"] = None
                return
            yield ("python3", "-c", script)
        elif shell == ["bash"] or _BASH.search(script):
            yield ("bash", "-ec", script)
        else:
            yield script

    def _action(self, uses: str, inputs: Mapping[str, Any]) -> Iterator[str]:
        action = uses.partition("@")[0]
        if action == "actions/checkout":
            if inputs.keys() & {"repository", "path"}:
                self._notes["it checks out another repository, or into a folder"] = None
        elif action in LANGUAGES:
            self._set_up(action, inputs)
        elif action in INSTALLS:
            yield INSTALLS[action]
        elif action == "actions/cache":
            self._cache(inputs)
        elif action == "actions/upload-artifact":
            self._artifacts += [self._text(path) for path in _uploaded(inputs)]
        elif action == "actions/download-artifact":
            yield from self._download(inputs)
        else:
            self._notes[f"the action {uses} is left out"] = None

    def _set_up(self, action: str, inputs: Mapping[str, Any]) -> None:
        image, key, usual = LANGUAGES[action]
        version = self._text(str(inputs.get(key, usual))).strip()
        version = version.removeprefix("v").removesuffix(".x").removeprefix("^").removeprefix("~")
        if not re.fullmatch(r"[\w.-]+|\$\{[\w-]+\}", version) or version in ("stable", "lts"):
            self._notes[f"{key} {version!r} was taken for {usual}"] = None
            version = usual
        if self._image is not None:
            self._notes[f"it sets up {image}, too, which isn't in {self._image}"] = None
            return
        self._image = f"{image}:{version}"
        self._caches |= CACHES.get(str(inputs.get("cache", "")), CACHES.get(image, {}))

    def _cache(self, inputs: Mapping[str, Any]) -> None:
        for line in str(inputs.get("path", "")).split("\n"):
            path = line.strip().replace("~", "/root", 1)
            name = re.sub(r"[^A-Za-z0-9]+", "-", path.rpartition("/")[2]).strip("-")
            if path.startswith("/") and name[:1].isalpha():
                self._caches[name] = path
            elif path:
                self._notes[f"the cache of {path} is left out: it isn't an absolute path"] = None

    def _download(self, inputs: Mapping[str, Any]) -> Iterator[str]:
        wanted = inputs.get("name")
        for name, job in self._jobs.items():
            uploads = [
                _table(_table(step).get("with"))
                for step in _list(job.get("steps"))
                if str(_table(step).get("uses", "")).startswith("actions/upload-artifact@")
            ]
            uploads = [each for each in uploads if wanted in (None, each.get("name"))]
            if not uploads or name == self._name:
                continue
            self._uses[name] = None
            there = f"artifacts/{name}"
            self._notes[f"what {name} keeps is in {there}, under its paths there"] = None
            paths = _uploaded(uploads[0])
            if "path" in inputs and len(uploads) == len(paths) == 1:
                inner = self._text(paths[0]).partition("*")[0].rpartition("/")[0]
                # A check with a matrix has artifacts for each combination, in "NAME (VALUES)".
                is_matrix = "matrix" in _table(job.get("strategy"))
                source = f'"{there} ("*/' if is_matrix else f"{_quoted(there)}/"
                source += f"{_quoted(inner)}/." if inner else "."
                folder = _quoted(self._text(str(inputs["path"])))
                yield f"mkdir -p {folder} && cp -r {source} {folder}"

    def _services(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, service in _table(self._job.get("services")).items():
            image = self._text(str(_table(service).get("image", "")))
            known = image.rpartition("/")[2].partition(":")[0]
            if known not in SERVERS or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", str(name)):
                self._notes[f"the service {name} is left out: its command isn't known"] = None
                continue
            run, port = SERVERS[known]
            variable = re.sub(r"[^A-Za-z0-9]", "_", str(name)).upper()
            self._notes[f"{name} is at ${variable}_HOST:${variable}_PORT, not at localhost"] = None
            env = self._variables(_table(service).get("env"))
            yield str(name), {"image": image, "run": run, "port": port, "env": env}

    def _variables(self, value: object, into: dict[str, str] | None = None) -> dict[str, str]:
        """Return variables with their texts. Those that are a secret by another name go `into` a table."""
        aliases = self._aliases if into is None else into
        found = {}
        for name, text in _table(value).items():
            said = str(text).lower() if isinstance(text, bool) else str(text)
            secret = re.fullmatch(r"\$\{\{\s*secrets\.(\w+)\s*\}\}", said.strip())
            if secret is None:
                found[str(name)] = self._text(said)
            elif secret[1] == "GITHUB_TOKEN":
                self._notes["there is no GITHUB_TOKEN"] = None
            else:
                self._secrets[secret[1]] = None
                if name != secret[1]:
                    aliases[str(name)] = secret[1]
        return found

    def _text(self, text: str) -> str:
        """Return a text with the expressions that have a meaning here, and a note of the others."""
        return _EXPRESSION.sub(self._expression, text)

    def _expression(self, match: re.Match[str]) -> str:
        named = _NAMED.fullmatch(match[1])
        if named is not None and named[1] == "matrix" and named[2] in self._matrix:
            return f"${{{named[2]}}}"
        if named is not None and named[1] == "env":
            return f"${named[2]}"
        if named is not None and named[1] == "secrets" and named[2] != "GITHUB_TOKEN":
            self._secrets[named[2]] = None
            return f"${named[2]}"
        if match[1] == "github.sha":
            return "$(git rev-parse HEAD)"
        self._notes[f"${{{{ {match[1]} }}}} has no meaning here"] = None
        return match[0]


def _uploaded(inputs: Mapping[str, Any]) -> list[str]:
    """Return the patterns of the files that an upload keeps. A path without a suffix is taken for a folder."""
    found = []
    for line in str(inputs.get("path", "")).splitlines():
        path = line.strip().removeprefix("./")
        last = path.rstrip("/").rpartition("/")[2]
        if path and not path.startswith("!"):
            is_folder = path.endswith("/") or not set(last) & set(".*?$")
            found.append(f"{path.rstrip('/')}/**" if is_folder else path)
    return found


def _quoted(text: str) -> str:
    """Return a word for the shell; variables in it are replaced."""
    if re.fullmatch(r"[\w./@:+-]+", text):
        return text
    escaped = re.sub(r'(["\\`])', r"\\\1", text)
    return f'"{escaped}"'


def _table(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
