"""Translate one job of a GitHub Actions workflow to a check. No I/O.

Its `run:` steps become commands. The most common actions are known: check out, set up a language, cache, upload and
download. The repository's own actions are read. Notes list everything that couldn't be translated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bassloop.project.manifests import manager_package, read_node_project, table
from bassloop.project.proposals import Proposal
from bassloop.project.workflows.job_values import JobValues, explain_lost, explain_meaningless
from bassloop.project.workflows.known_actions import (
    CACHES,
    LANGUAGES,
    PREPARATIONS,
    SERVERS,
    UBUNTU,
    UPLOADS,
    as_list,
    bun_beside_node,
    default_folder,
    examines_needs,
    explain_left_out,
    installing_command,
    leaves_folder,
    local_steps,
    missing_programs,
    uploaded_patterns,
    uploads_of,
    usual_image,
    with_components,
)
from bassloop.project.workflows.step_scripts import (
    BASH,
    adapt_packages,
    adapt_script,
    expanding_word,
    lacks_node_packages,
    sent_elsewhere,
    shell_word,
)
from bassloop.project.workflows.version_images import (
    VersionImage,
    find_image,
    rust_additions,
    rust_version,
    version_in_file,
    with_version_in_ref,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bassloop.project.workflows.conditions import Value
    from bassloop.project.workflows.matrix import Part

_AFTER_FAILURE = re.compile(r"(?<!!)\b(?:failure|cancelled)\s*\(")
MAX_DEPTH = 4
"""The maximum depth to which the repository's actions may use each other."""


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """A workflow whose jobs are translated.

    Args:
        data: the file's content.
        jobs: the jobs by the names of their checks.
        events: the events that it runs on, with options.
        started: those of the events that start checks.
        cases: the known values for each of these events, for conditions.
        prefix: the beginning of each check's name.
        read: returns the text of a file of the repository, None if there is none.
    """

    path: str
    data: Mapping[str, Any]
    jobs: Mapping[str, Mapping[str, Any]]
    events: Mapping[str, Any]
    started: tuple[str, ...]
    cases: tuple[Mapping[str, Value], ...]
    prefix: str
    read: Callable[[str], str | None]


class WorkflowJob:
    """The translation of one job.

    Args:
        part: the combinations of its matrix to translate.
        when: the events and branches that its condition allows; None without a condition that depends on them.
    """

    def __init__(
        self,
        name: str,
        workflow: WorkflowFile,
        job: Mapping[str, Any],
        part: Part,
        when: Mapping[str, list[str]] | None = None,
    ) -> None:
        self._name, self._workflow, self._job = name, workflow, job
        self._values = JobValues(part, workflow.cases)
        self._matrix = part.matrix
        self._only_when = when
        self.missing: list[str] = []
        """The steps and actions of the job that aren't translated."""
        self._caches: dict[str, str] = {}
        self._artifacts: list[str] = []
        self._uses: dict[str, None] = {}
        self._image: str | None = None
        self._env: dict[str, str] = {}
        folder = self._values.text(default_folder(job, workflow.data))
        leaves = "$" in folder or leaves_folder(as_list(job.get("steps")))
        self._workdir, self._folder = ("", folder) if leaves else (folder, "")

    def proposal(self) -> Proposal | None:
        """Return the job's check; None if no step could be translated."""
        job = self._job
        env = self._values.variables(self._workflow.data.get("env")) | self._values.variables(
            job.get("env")
        )
        container = job.get("container")
        image = table(container).get("image") if isinstance(container, dict) else container
        exported = dict(self._values.aliases)
        commands = [
            command
            for step in as_list(job.get("steps"))
            for command in self._commands(table(step), exported)
        ]
        if not commands:
            return None
        together = "\n".join(each if isinstance(each, str) else each[-1] for each in commands)
        commands = adapt_packages(commands)
        commands = self._with_node_packages(commands)
        image = self._values.text(str(image)) if image else self._image
        if image is None:
            image = usual_image(together) or UBUNTU
            if image.startswith("node:") and (node := read_node_project(self._workflow.read)):
                image = node.image
            self._values.notes[f"ubuntu-latest has programs that {image} hasn't"] = None
            self._caches = {**CACHES.get(image.partition(":")[0], {}), **self._caches}
        commands[:0] = missing_programs(image, together)
        if image.startswith(("rust:", "rustlang/rust:")):
            commands = with_components(commands, together)
        minutes = job.get("timeout-minutes")
        needs = [f"{self._workflow.prefix}{need}" for need in as_list(job.get("needs"))]
        services = dict(self._services())
        if self._values.secrets:
            names = ", ".join(self._values.secrets)
            self._values.notes[
                f"give your runner its secrets ({names}): bassloop runner secret set NAME"
            ] = None
        return Proposal(
            self._name,
            f"{self._workflow.path}",
            image,
            tuple(commands),
            self._caches,
            self._workdir,
            matrix=self._matrix,
            env=self._env | env,
            secrets=list(self._values.secrets),
            services=services,
            needs=[need for need in needs if need not in self._uses],
            uses=list(self._uses),
            artifacts=self._artifacts,
            timeout=f"{minutes}m" if isinstance(minutes, int) else "",
            when=self._when(),
            notes=list(self._values.notes),
        )

    def _with_node_packages(self, commands: list[Any]) -> list[Any]:
        """Return commands that first install the project's Node packages, if the job left that to an unknown action."""
        project = read_node_project(self._workflow.read)
        is_lacking = any(note.startswith("the action ") for note in self._values.notes)
        if project is None or not is_lacking or not lacks_node_packages(commands):
            return commands
        self._values.notes[
            "no step installs the packages of package.json: the first command does"
        ] = None
        self._caches |= project.caches
        return [project.install, *commands]

    def _when(self) -> dict[str, list[str]]:
        """Return the condition on events and branches. In doubt, a check runs more often.

        A check for pull requests runs for pushes as well, because its result belongs to the commit, which both show.
        """
        if self._only_when is not None:
            return dict(self._only_when)
        started = self._workflow.started
        when = {} if "pull_request" in started else {"events": list(started)}
        options = [table(self._workflow.events[name]) for name in started]
        branches = [as_list(each.get("branches")) for each in options]
        if branches[0] and all(each == branches[0] for each in branches):
            when["branches"] = [str(each) for each in branches[0]]
        elif listed := next(filter(None, branches), None):
            names = ", ".join(map(str, listed))
            self._values.notes[f"the check also runs for pushes to branches other than {names}"] = (
                None
            )
        ignored = ("paths", "paths-ignore", "branches-ignore")
        if lost := ", ".join(key for key in ignored if any(key in each for each in options)):
            self._values.notes[f"{lost} left out: the check runs for every change"] = None
        return when

    def _commands(
        self, step: Mapping[str, Any], exported: Mapping[str, str], depth: int = 0
    ) -> Iterator[Any]:
        if depth > MAX_DEPTH:
            return
        condition = str(step.get("if", "always()"))
        runs, cases = self._values.condition(condition)
        test = self._values.passed_on.test(condition) if runs is None and "run" in step else None
        runs = True if test else runs
        is_after_failure = not runs and _AFTER_FAILURE.search(str(step.get("if")))
        if runs is None or is_after_failure or (cases and "run" not in step):
            what = step.get("name") or step.get("uses") or str(step.get("run", "")).split("\n")[0]
            self._values.notes[f"step {str(what)!r} only runs if {step['if']}; it is left out"] = (
                None
            )
            if not is_after_failure:
                self.missing.append(f"step {str(what)!r}")
            return
        if not runs:
            return  # not on Linux, or not for a push
        if "uses" in step:
            self._values.passed_on.add_action(str(step["uses"]), str(step.get("id", "")))
            yield from self._action(str(step["uses"]), table(step.get("with")), exported, depth)
        if "run" not in step:
            return
        if examines_needs(step):
            self._values.notes[
                "a check only starts if its needs succeeded: a step needn't test that"
            ] = None
            return
        if (what := sent_elsewhere(str(step["run"]))) is not None:
            self._values.notes[f"a step that {what} is left out"] = None
            return
        shell = str(step.get("shell", "")).split()[:1]
        if shell and shell[0] in ("pwsh", "powershell", "cmd", "node"):
            self._values.notes[f"a step for the shell {shell[0]} is left out"] = None
            return
        before = dict(exported)
        fixed = self._values.variables(step.get("env"), into=before)
        script = self._values.text(str(step["run"]).strip(), in_script=True)
        script = adapt_script(script, manager_package(self._workflow.read))
        self._values.notes |= dict.fromkeys(explain_lost(script))
        if shell == ["python"]:
            script = f"python3 -c {shell_word(script)}"
        lines = [f'export {name}="${value}"' for name, value in before.items()]
        lines += [f"export {name}={expanding_word(value)}" for name, value in fixed.items()]
        # The steps of an action of the repository don't use the job's default.
        folder = str(step.get("working-directory") or ("" if depth else self._folder))
        folder = self._values.text(folder, in_script=True)
        if folder not in ("", ".", "./"):
            lines.append(f"cd {expanding_word(folder)}")
        script = "\n".join([*lines, script])
        if step.get("continue-on-error") is True:
            script = f"(\n{script}\n) || true" if "\n" in script else f"({script}) || true"
        passed_on = self._values.passed_on.lines(script, str(step.get("id", "")))
        if test:
            script = f"if {test}; then\n{script}\nfi"
        script = "\n".join([*passed_on, script])
        if cases:
            script = f"case {cases[0]} in {cases[1]})\n{script}\n;; esac"
        if shell == ["bash"] or BASH.search(script):
            yield ("bash", "-ec", script)
        else:
            yield script

    def _action(
        self, uses: str, inputs: Mapping[str, Any], exported: Mapping[str, str], depth: int
    ) -> Iterator[Any]:
        action = uses.partition("@")[0]
        if action == "actions/checkout":
            if inputs.keys() & {"repository", "path"}:
                self._values.notes["it checks out another repository, or into a folder"] = None
        elif action in LANGUAGES:
            yield from self._set_up(action, with_version_in_ref(uses, inputs))
            yield from PREPARATIONS.get(action, ())
        elif command := installing_command(uses, inputs):
            if action == "astral-sh/setup-uv" and inputs.get("python-version"):
                yield from self._set_up("actions/setup-python", inputs)
                self._env["UV_PYTHON"] = self._values.text(str(inputs["python-version"]))
            self._caches |= CACHES.get(action, {})
            self._upload(UPLOADS.get(action, {}))
            yield command
        elif action == "actions/cache":
            self._cache(inputs)
        elif action == "actions/upload-artifact":
            self._upload(inputs)
        elif action == "actions/download-artifact":
            yield from self._download(inputs)
        elif uses.startswith(("./", "$/")) and (
            steps := local_steps(uses, inputs, self._workflow.read)
        ):
            for step in steps:
                yield from self._commands(step, exported, depth + 1)
        else:
            self._values.notes[explain_left_out(uses)] = None
            self.missing.append(f"the action {action}")

    def _set_up(self, action: str, inputs: Mapping[str, Any]) -> Iterator[str]:
        language, key, usual = LANGUAGES[action]
        file = str(inputs.get(f"{key}-file", ""))
        wanted = inputs.get(key) or (
            version_in_file(file, self._workflow.read(file)) if file else usual
        )
        *others, version = self._values.text(str(wanted or file)).strip().split("\n")
        if language == "rust":
            version = self._minimum_rust(version)
        toolchain = find_image(language, version)
        if toolchain is None or "${{" in version:
            self._values.notes[f"{key} {version!r} was taken for {usual}"] = None
            toolchain = VersionImage(f"{language}:{usual}")
        if others:
            self._values.notes[f"of the versions of {language}, there is only the last one"] = None
        if self._image is None:
            self._image = toolchain.image
            self._caches |= CACHES.get(str(inputs.get("cache", "")), CACHES.get(language, {}))
            self._env |= toolchain.env or {}
            yield from toolchain.commands
            if language == "rust":
                yield from rust_additions(inputs)
        elif {language, self._image.partition(":")[0]} == {"node", "oven/bun"}:
            self._image = toolchain.image if language == "node" else self._image
            yield bun_beside_node(str(self._job))
        elif self._image != toolchain.image:
            self._values.notes[f"it sets up {language}, too, which isn't in {self._image}"] = None

    def _minimum_rust(self, version: str) -> str:
        """Return the version of Rust that Cargo.toml requires, if that's what an expression seems to mean."""
        if "${{" not in version or "msrv" not in version.lower():
            return version
        if (minimum := rust_version(self._workflow.read("Cargo.toml"))) is None:
            return version
        self._values.notes.pop(explain_meaningless(version.strip("${ }"), in_script=False), None)
        self._values.notes[f"toolchain {version!r} was taken for Cargo.toml's rust-version"] = None
        return minimum

    def _cache(self, inputs: Mapping[str, Any]) -> None:
        for line in str(inputs.get("path", "")).split("\n"):
            path = line.strip().replace("~", "/root", 1)
            name = re.sub(r"[^A-Za-z0-9]+", "-", path.rpartition("/")[2]).strip("-")
            if path.startswith("/") and name[:1].isalpha():
                self._caches[name] = path
            elif path:
                self._values.notes[
                    f"the cache of {path} is left out: it isn't an absolute path"
                ] = None

    def _upload(self, inputs: Mapping[str, Any]) -> None:
        for path in map(self._values.text, uploaded_patterns(inputs)):
            if "${{" in path:
                self._values.notes[f"the artifact {path} is left out: its path isn't known"] = None
            else:
                self._artifacts.append(path)

    def _download(self, inputs: Mapping[str, Any]) -> Iterator[str]:
        wanted = inputs.get("name")
        for name, job in self._workflow.jobs.items():
            uploads = uploads_of(job)
            uploads = [each for each in uploads if wanted in (None, each.get("name"))]
            if not uploads or name == self._name:
                continue
            self._uses[name] = None
            there = f"artifacts/{name}"
            self._values.notes[f"what {name} keeps is in {there}, under its paths there"] = None
            paths = uploaded_patterns(uploads[0])
            if "path" in inputs and len(uploads) == len(paths) == 1:
                inner = self._values.text(paths[0]).partition("*")[0].rpartition("/")[0]
                # Each combination of a matrix has its artifacts in a folder "NAME (VALUES)" or "NAME-VALUE".
                is_matrix = "matrix" in table(job.get("strategy"))
                source = f'"{there}"*/' if is_matrix else f"{expanding_word(there)}/"
                source += f"{expanding_word(inner)}/." if inner else "."
                folder = expanding_word(self._values.text(str(inputs["path"])))
                yield f"mkdir -p {folder} && cp -r {source} {folder}"

    def _services(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, service in table(self._job.get("services")).items():
            image = self._values.text(str(table(service).get("image", "")))
            known = image.rpartition("/")[2].partition(":")[0]
            if known not in SERVERS or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", str(name)):
                self._values.notes[f"the service {name} is left out: its command isn't known"] = (
                    None
                )
                continue
            run, port = SERVERS[known]
            variable = re.sub(r"[^A-Za-z0-9]", "_", str(name)).upper()
            self._values.notes[
                f"{name} is at ${variable}_HOST:${variable}_PORT, not at localhost"
            ] = None
            env = self._values.variables(table(service).get("env"))
            yield str(name), {"image": image, "run": run, "port": port, "env": env}
