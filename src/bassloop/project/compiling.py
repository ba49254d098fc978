"""Compile declared checks to Bass: the text of a `project.bass`, as people would write it.

The loop evaluates this text, and `bassloop eject` outputs the same, so the two can't differ.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bassloop.project.declaration import MAX_JOBS, CheckDeclaration, Service
from bassloop.wire.conventions import CHECKOUT_IMAGE, SERVICE_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_WORD = re.compile(r"-{0,2}[A-Za-z][A-Za-z0-9_-]*\Z")
_PLAIN_PATH = re.compile(r"\.?(?:/\.?[A-Za-z][A-Za-z0-9_-]*)*/\Z")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
VARIABLE = re.compile(r"\$\{([A-Za-z][A-Za-z0-9_-]*)\}")


MAX_SOURCE = 1 << 20
"""The size limit of the text in characters. A short file with a matrix may mean a very long one."""


class TooManyJobs(ValueError):
    """The matrices have more combinations than one event may start, or than fit in a hook. The message says which."""


@dataclass(frozen=True, slots=True)
class MatrixJob:
    """A check to start: a declared check, or one combination of its matrix.

    Args:
        values: the combination's values by name; empty for a check without a matrix.
        after: the names of the checks that must succeed first.
        uses: those of `after` whose artifacts it uses.
    """

    name: str
    check: CheckDeclaration
    values: Mapping[str, str]
    after: tuple[str, ...]
    uses: tuple[str, ...] = ()

    def text(self, text: str) -> str:
        """Return one of the check's texts with the matrix's values inserted."""
        return VARIABLE.sub(lambda match: self.values.get(match[1], match[0]), text)


def jobs(checks: Mapping[str, CheckDeclaration]) -> list[MatrixJob]:
    """Return the checks to start, one for each combination of a matrix, after those that they need.

    A check that needs one with a matrix needs all its combinations. Raises TooManyJobs.
    """
    # Before any name: a few lines declare a matrix whose names would fill all memory.
    counts = (math.prod(map(len, check.matrix.values())) for check in checks.values())
    if sum(counts) > MAX_JOBS:
        raise TooManyJobs(f"they are more than {MAX_JOBS} checks, all combinations counted")
    names = {
        name: [each for each, _ in _combinations(name, check)] for name, check in checks.items()
    }
    found = []
    for name in _needs_first(checks):
        check = checks[name]
        after, uses = (
            tuple(itertools.chain.from_iterable(names.get(need, [need]) for need in needs))
            for needs in (check.all_needs, check.uses)
        )
        for full, values in _combinations(name, check):
            found.append(MatrixJob(full, check, values, after, uses))
    return found


def _needs_first(checks: Mapping[str, CheckDeclaration]) -> list[str]:
    """Return the names in an order in which each comes after those that it needs, and otherwise as declared."""
    order: dict[str, None] = {}
    waiting = list(checks)
    while waiting:
        ready = [name for name in waiting if all(need in order for need in checks[name].all_needs)]
        # `read_checks` rejects circles.
        name = ready[0] if ready else waiting[0]
        order[name] = None
        waiting.remove(name)
    return list(order)


def _combinations(name: str, check: CheckDeclaration) -> Iterator[tuple[str, dict[str, str]]]:
    if not check.matrix:
        yield name, {}
        return
    for values in itertools.product(*check.matrix.values()):
        texts = [str(value) for value in values]
        yield f"{name} ({', '.join(texts)})", dict(zip(check.matrix, texts, strict=True))


def write_bass(checks: Mapping[str, CheckDeclaration], *, comment: str = "") -> str:
    """Return the source of a module that starts these checks. Raises TooManyJobs.

    At most one check is compiled beyond `MAX_SOURCE`.

    Args:
        comment: lines for the top of the file, without semicolons.
    """
    head = "".join(f"; {line}\n".replace(" \n", "\n") for line in comment.splitlines())
    parts, left = [], MAX_SOURCE
    for job in jobs(checks):
        parts.append(_entry(job))
        left -= len(parts[-1])
        if left < 0:
            raise TooManyJobs(
                f"with all combinations counted, they have more than {MAX_SOURCE >> 20} MiB of text"
            )
    entries = "\n".join(parts)
    return f"""{head}(use (.git {_image(CHECKOUT_IMAGE)})
     (.checks))

; what to check, given the repository's files
(defn declared [src]
  [{_indented(entries, 3)}])

(defn github-hook [event client]
  (checks:start event client git:checkout declared))
"""


def _entry(job: MatrixJob) -> str:
    check = job.check
    lines = [f":name {_string(job.name)}"]
    if check.when.events is not None:
        lines.append(f":events {_list(check.when.events)}")
    if check.when.branches is not None:
        lines.append(f":branches {_list([branch_pattern(each) for each in check.when.branches])}")
    if job.after:
        lines.append(f":after {_list(job.after)}")
    if check.timeout is not None:
        lines.append(f":limit {check.timeout}")
    lines.append(f":thunk {_indented(_thunk(job), 7)}")
    return "{" + "\n ".join(lines) + "}"


def _thunk(job: MatrixJob) -> str:
    """Return the form of a check's thunk: a chain of commands, each with the check's labels, caches and variables."""
    check = job.check
    parts = list(_parts(job))
    commands = [_command(job, command) for command in check.commands]
    if parts:
        commands = [f"(prepared {command})" for command in commands]
    folder = "src" if check.workdir in ("", ".", "./") else f"(subpath src {_path(check.workdir)})"
    chain = "\n".join(commands)
    if check.image is not None:
        form = f"(from {_image(job.text(check.image))}\n  (cd {folder}\n    {_indented(chain, 4)}))"
    else:
        form = f"(cd {folder}\n  {_indented(chain, 2)})"
    if parts:
        steps = _indented("\n".join(parts), 10)
        form = f"(let [prepared (fn [thunk]\n       (-> thunk\n          {steps}))]\n  {_indented(form, 2)})"
    return form


def _parts(job: MatrixJob) -> Iterator[str]:
    """Yield the calls that prepare each command: labels for reports, artifacts and uses, caches, and variables."""
    if job.check.reports:
        yield f"(with-label :reports {_list([job.text(each) for each in job.check.reports])})"
    if job.check.artifacts:
        yield f"(with-label :artifacts {_list([job.text(each) for each in job.check.artifacts])})"
    if job.uses:
        yield f"(with-label :uses {_list(job.uses)})"
    for name, place in job.check.caches.items():
        yield f"(with-mount (cache-dir {_string(name)}) {_path(job.text(place))})"
    if pairs := list(_variables(job)):
        yield f"(with-env {{{_indented(chr(10).join(pairs), 11)}}})"


def _command(job: MatrixJob, command: str | Sequence[str]) -> str:
    if isinstance(command, str):
        return f"($ sh -ec {_string(job.text(command))})"
    return "($ " + " ".join(_word(job.text(word)) for word in command) + ")"


def _variables(job: MatrixJob) -> Iterator[str]:
    check = job.check
    for name, value in check.env.items():
        yield f":{name} {_string(job.text(value))}"
    for name in check.secrets:
        yield f':{name} (mask "" :{name})'
    for name, service in check.services.items():
        prefix = re.sub(r"[^A-Za-z0-9]", "_", name).upper()
        form = _service(job, name, service)
        yield f':{prefix}_HOST (addr {_indented(form, 6)} :port "$host")'
        yield f':{prefix}_PORT (addr {_indented(form, 6)} :port "$port")'


def _service(job: MatrixJob, name: str, service: Service) -> str:
    form = f"(from {_image(job.text(service.image))} ($ sh -c {_string(job.text(service.run))}))"
    if service.env:
        pairs = " ".join(
            f":{name} {_string(job.text(value))}" for name, value in service.env.items()
        )
        form = f"(with-env {form} {{{pairs}}})"
    form = f"(with-label {form} :{SERVICE_LABEL} {_string(name)})"
    return f"(with-port {form} :port {service.port})"


def _image(name: str) -> str:
    """Return an image's reference: the repository, and the tag or digest if it has one."""
    repository, _, digest = name.partition("@")
    last = repository.rpartition("/")[2]
    tag = last.partition(":")[2]
    if tag:
        repository = repository[: -len(tag) - 1]
    parts = [f":repository {_string(repository)}"]
    if tag:
        parts.append(f":tag {_string(tag)}")
    if digest:
        parts.append(f":digest {_string(digest)}")
    return '{:platform {:os "linux"} ' + " ".join(parts) + "}"


def _path(text: str) -> str:
    """Return a form for a directory's path, whose text may contain any characters."""
    plain = text.rstrip("/") or "/"
    if not plain.startswith("/"):
        plain = f"./{plain.removeprefix('./')}"
    plain = plain.rstrip("/") + "/"
    return plain if _PLAIN_PATH.match(plain) else f"(string->fs-path {_string(plain)})"


def branch_pattern(pattern: str) -> str:
    """Return the regular expression for a branch pattern: ``*`` doesn't match slashes, ``**`` does."""
    parts = re.split(r"(\*\*|\*)", pattern)
    meaning = {"*": "[^/]*", "**": ".*"}
    return "^" + "".join(meaning.get(part, re.escape(part)) for part in parts) + "$"


def _list(texts: Sequence[str]) -> str:
    return "[" + " ".join(_string(text) for text in texts) + "]"


def _word(text: str) -> str:
    """Return a word of a command: bare if it stands for itself, otherwise quoted."""
    return text if _WORD.match(text) and text not in ("true", "false", "null") else _string(text)


def _string(text: str) -> str:
    """Return a string literal."""
    return f'"{text.translate(_ESCAPES)}"'


def _indented(text: str, columns: int) -> str:
    """Return a text with all lines but the first indented."""
    return text.replace("\n", "\n" + " " * columns)


def started_checks(checks: Mapping[str, CheckDeclaration], event: str, branch: str) -> list[str]:
    """Return the names of the checks that an event starts, in the order in which they are started.

    Args:
        event: push, pull_request or merge_group.
        branch: the branch that was pushed, or is the target.
    """
    return [job.name for job in jobs(checks) if _is_wanted(job.check, event, branch)]


def _is_wanted(check: CheckDeclaration, event: str, branch: str) -> bool:
    when = check.when
    return (when.events is None or event in when.events) and (
        when.branches is None
        or any(re.search(branch_pattern(each), branch) for each in when.branches)
    )
