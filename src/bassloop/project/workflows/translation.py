"""Propose checks from GitHub Actions workflows. No I/O.

A job becomes a check, or several if its matrix lists combinations one by one. What can't be translated is mentioned in
the proposal's notes, or listed as left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import yaml

from bassloop.project.manifests import table
from bassloop.project.workflows.conditions import (
    allowed_when,
    as_text,
    evaluate,
    event_cases,
    names_in,
    text_of,
)
from bassloop.project.workflows.known_actions import (
    EXPRESSION,
    LANGUAGES,
    as_list,
    examines_needs,
)
from bassloop.project.workflows.matrix import (
    Part,
    TooManyCombinationsError,
    combinations,
    divide,
    in_expressions,
    known_values,
)
from bassloop.project.workflows.step_scripts import is_idle, is_preparation
from bassloop.project.workflows.version_images import PLAIN_VERSION, version_axes
from bassloop.project.workflows.workflow_job import WorkflowFile, WorkflowJob

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bassloop.project.proposals import Proposal
    from bassloop.project.workflows.conditions import Scalar, Value

BY_HAND = ("workflow_dispatch", "workflow_call")
"""Events that people or other workflows start; `bassloop try --check` does that here."""

EVENTS = ("push", "pull_request", "merge_group")
MAX_CHECKS_OF_A_MATRIX = 16
_OTHER_SYSTEM = re.compile(r"windows|macos|\barm(64)?\b|aarch64", re.IGNORECASE)


@dataclass
class Workflow:
    """A translated workflow.

    Args:
        left_out: what has no check, and why.
    """

    checks: list[Proposal] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def translate_workflow(
    text: str,
    path: str,
    prefix: str = "",
    read: Callable[[str], str | None] = lambda path: None,
) -> Workflow:
    """Return the checks for a workflow's jobs.

    Args:
        path: the file's path, for messages.
        prefix: the beginning of each check's name.
        read: returns the text of a file of the repository, None if there is none.
    """
    translated = Workflow()
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        translated.left_out.append(f"{path}: this is not YAML")
        return translated
    data = table(content)
    # YAML 1.1 reads a bare `on` as true.
    events = _events(data.get("on", data.get(True)))
    started = [name for name in EVENTS if name in events and not _is_for_tags(events[name])]
    if not started and "push" in events:
        translated.left_out.append(f"{path}: it runs for tags alone")
        return translated
    if not started:
        names = ", ".join(map(str, events)) or "nothing"
        translated.left_out.append(f"{path}: it runs on {names}, not on pushes or pull requests")
        return translated
    if others := [name for name in events if name not in (*EVENTS, *BY_HAND)]:
        translated.left_out.append(f"{path}: {_explain_other_events(others, events)}")
    jobs = {f"{prefix}{name}": table(job) for name, job in table(data.get("jobs")).items()}
    cases = [case for name in started for case in event_cases(name, table(events[name]))]
    workflow = WorkflowFile(path, data, jobs, events, tuple(started), tuple(cases), prefix, read)
    own_names = _own_names(text)
    made: dict[str, list[str]] = {}
    for name, job in jobs.items():
        own = {} if _writes(job, data) else own_names
        filters = {} if _writes(job, data) else _filters(job, jobs, prefix)
        known = {**own, **filters}
        when = _allowed_when(job, workflow, known)
        reason = _reason_to_leave_out(job, known, cases, when)
        checks: list[Proposal] = []
        divided = _Divided() if reason else _divide(job)
        for part in divided.parts:
            full_name = f"{name}-{part.label}" if part.label else name
            translation = WorkflowJob(full_name, workflow, job, part, when)
            check = translation.proposal()
            lost = ", ".join(dict.fromkeys(translation.missing))
            if check is not None and is_idle(check.run) and not (check.needs or check.uses):
                reason = "its commands do nothing, so it would always succeed"
            elif check is not None and lost and is_preparation(check.run):
                reason = f"a check would only prepare what isn't translated: {lost}"
            elif check is not None:
                check.notes[:0] = [*divided.notes, *_note_on_name(check.name, job)]
                checks.append(check)
        translated.left_out += [f"job {name} of {path}: {each}" for each in divided.left_out]
        for own_name in own.keys() & names_in(str(job.get("if"))):
            for check in checks:
                check.notes.append(
                    f"the check also runs where {own_name} isn't {own[own_name]}, such as in a fork"
                )
        for name_of_filter in filters:
            for check in checks:
                check.notes.append(
                    f"the check runs for every change: it doesn't depend on {name_of_filter}"
                )
        if "if" in job and when is None and _is_assumed(str(job["if"]), known, cases):
            for check in checks:
                check.notes.append(f"the check also runs where `if: {job['if']}` may not hold")
        if not checks and (reason or divided.parts):
            if any(map(examines_needs, map(table, as_list(job.get("steps"))))):
                reason = reason or "it only reports whether the jobs succeeded that it needs"
            reason = reason or f"no step has a command that could be translated{_actions(job)}"
            translated.left_out.append(f"job {name} of {path}: {reason}")
        made[name] = [check.name for check in checks]
        translated.checks += checks
    for check in translated.checks:
        missing = [need for need in (*check.needs, *check.uses) if not made.get(need)]
        if missing:
            check.notes.append(f"needs {', '.join(missing)}, which was left out")
        for needs in (check.needs, check.uses):
            needs[:] = [each for need in needs for each in made.get(need, ())]
    return translated


def _explain_other_events(others: Sequence[str], events: Mapping[str, Any]) -> str:
    """Return which events of a workflow start no check here, and what to do for a schedule."""
    if "schedule" not in others:
        return f"it also runs on {', '.join(others)}, which starts no check here"
    crons = [str(table(entry).get("cron")) for entry in as_list(events["schedule"])]
    names = [name for name in others if name != "schedule"]
    also = f", and on {', '.join(names)}" if names else ""
    return (
        f"it also runs on a schedule ({', '.join(crons)}){also}, which starts no check here: "
        "a cron job can send a repository_dispatch instead, for a hook in project.bass to handle"
    )


_OWN = re.compile(r"\b(github\.repository(?:_owner)?)\s*==\s*'([^']+)'")


def _own_names(text: str) -> dict[str, Value]:
    """Return the repository's name and owner, if all conditions of a workflow that forks don't meet agree on them."""
    found: dict[str, set[str]] = {}
    for name, value in _OWN.findall(text):
        found.setdefault(name, set()).add(value)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


_FILTERS = {
    "dorny/paths-filter": "true",
    "tj-actions/changed-files": "true",
    "step-security/changed-files": "true",
    "fkirc/skip-duplicate-actions": "false",
    "dtolnay/.github/.github/workflows/pre_ci.yml": "true",
}
"""Actions and workflows whose outputs say whether other jobs need to run for a change, and the output if they do."""


def _filters(
    job: Mapping[str, Any], jobs: Mapping[str, Mapping[str, Any]], prefix: str
) -> dict[str, Value]:
    """Return the outputs of other jobs on which a job's condition depends, as if every change concerned the job."""
    found: dict[str, Value] = {}
    for name, output in re.findall(r"\bneeds\.([\w-]+)\.outputs\.([\w-]+)", str(job.get("if"))):
        other = jobs.get(f"{prefix}{name}", {})
        used = [
            other.get("uses"),
            *(table(step).get("uses") for step in as_list(other.get("steps"))),
        ]
        for each in used:
            if (value := _FILTERS.get(str(each).partition("@")[0])) is not None:
                found[f"needs.{name}.outputs.{output}".lower()] = value
    return found


def _writes(job: Mapping[str, Any], workflow: Mapping[str, Any]) -> bool:
    """Return whether a job may change the repository on GitHub, as those that release it do."""
    return "write" in str(job.get("permissions", workflow.get("permissions")))


def _allowed_when(
    job: Mapping[str, Any], workflow: WorkflowFile, names: Mapping[str, Value]
) -> Mapping[str, list[str]] | None:
    """Return the events and branches that a job's condition allows; None if it doesn't depend on them alone."""
    if "if" not in job or evaluate(str(job["if"]), names, workflow.cases):
        return None
    events = {name: table(workflow.events[name]) for name in workflow.started}
    return allowed_when(str(job["if"]), events, names)


def _is_assumed(
    condition: str, names: Mapping[str, Value], cases: Sequence[Mapping[str, Value]]
) -> bool:
    """Return whether a condition may be false for some event, though it's taken for true."""
    return any(evaluate(condition, names, (case,)) is None for case in cases)


def _is_for_tags(options: object) -> bool:
    """Return whether the workflow only runs for pushes of tags."""
    keys = table(options).keys()
    return "tags" in keys and not keys & {"branches", "branches-ignore"}


def _note_on_name(check: str, job: Mapping[str, Any]) -> list[str]:
    """Return a note if GitHub shows a job by another name than its check's, which branch rules may require."""
    name = job.get("name")
    if not isinstance(name, str) or name in ("", check):
        return []
    return [
        f"`name: {name}` isn't used: in a rule that requires the check, its name is {check} now"
    ]


@dataclass
class _Divided:
    """The checks that a job's matrix becomes.

    Args:
        left_out: which of its combinations have none, and why.
        notes: comments for each check.
    """

    parts: list[Part] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _divide(job: Mapping[str, Any]) -> _Divided:
    """Return the parts of a job's matrix that run on Linux. A job without a matrix has one part."""
    divided = _Divided()
    literal = _literal_matrix(job, divided.notes)
    is_computed = bool(divided.notes)
    try:
        found = combinations(literal) or [{}]
    except TooManyCombinationsError as error:
        divided.left_out.append(str(error))
        return divided
    versions = version_axes(job)
    systems: dict[str, None] = {}
    linuxes: dict[str, None] = {}
    kept: dict[object, dict[str, Scalar]] = {}
    chooses_system = names_in(str(job.get("runs-on", "")))
    for each in found:
        if system := _other_system(job, known_values(each)):
            systems[system] = None
            continue
        lacking = [
            f"no image has {versions[name].key} {value}"
            for name, value in each.items()
            if name in versions and not versions[name].has(as_text(value))
        ]
        if lacking:
            divided.left_out += [reason for reason in lacking if reason not in divided.left_out]
            continue
        for name in versions.keys() & each.keys():
            each[name] = versions[name].simplified(as_text(each[name]))
        linux = {
            name: value
            for name, value in each.items()
            if in_expressions(name) in chooses_system and "ubuntu" in as_text(value).lower()
        }
        linuxes |= dict.fromkeys(map(as_text, linux.values()))
        # All versions of Ubuntu are the same here.
        kept.setdefault(tuple(x for x in each.items() if x[0] not in linux), each)
    if systems:
        names = ", ".join(systems)
        divided.left_out.append(f"it also runs on {names}" if kept else f"it runs on {names}")
    if len(linuxes) > 1:
        divided.notes.append(f"it doesn't run on each of {', '.join(linuxes)}")
    parts = divide(
        list(kept.values()),
        lambda name, text: name not in versions or PLAIN_VERSION.fullmatch(text) is not None,
    )
    if literal and not is_computed:
        missing = _missing_names(job, found[0])
        parts = [replace(part, known={**missing, **part.known}) for part in parts]
    divided.parts = parts[:MAX_CHECKS_OF_A_MATRIX]
    if more := len(parts) - len(divided.parts):
        last = divided.parts[-1].label
        divided.left_out.append(f"the {more} combinations of its matrix after {last}")
    return divided


def _missing_names(job: Mapping[str, Any], combination: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return null for each name of a matrix that a job mentions and that no combination has."""
    mentioned = dict.fromkeys(re.findall(r"\bmatrix\.([A-Za-z_][\w.-]*)", str(job)))
    return {
        in_expressions(name): None
        for name in mentioned
        if not any(each == name or each.startswith(f"{name}.") for each in combination)
    }


def _literal_matrix(job: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return the parts of a job's matrix that are known before it runs, and note the others."""
    matrix = table(job.get("strategy")).get("matrix")
    if isinstance(matrix, str):
        notes.append("its matrix is computed by another job")
    literal = {}
    for name, values in table(matrix).items():
        if "${{" in str(values):
            notes.append(f"the matrix's {name} is left out: it's computed when the workflow runs")
        else:
            literal[str(name)] = as_list(values)
    return literal


def _other_system(job: Mapping[str, Any], values: Mapping[str, Value]) -> str | None:
    """Return the system that a job runs on if it isn't Linux on the usual processors, otherwise None."""
    system = EXPRESSION.sub(
        lambda match: text_of(match[1], values) or match[0], str(job.get("runs-on", ""))
    )
    return system if _OTHER_SYSTEM.search(system) else None


def _actions(job: Mapping[str, Any]) -> str:
    used = [table(step).get("uses") for step in as_list(job.get("steps"))]
    names = [str(each).partition("@")[0] for each in used if each]
    names = [each for each in names if each != "actions/checkout" and each not in LANGUAGES]
    return f" ({', '.join(dict.fromkeys(names))})" if names else ""


def _events(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return {str(name): options for name, options in value.items()}
    return {str(name): None for name in (value if isinstance(value, list) else [value]) if name}


def _reason_to_leave_out(
    job: Mapping[str, Any],
    names: Mapping[str, Value],
    cases: Sequence[Mapping[str, Value]],
    when: Mapping[str, list[str]] | None,
) -> str | None:
    """Return why a job has no check; None if it has one."""
    if "if" in job and when is None and not (runs := evaluate(str(job["if"]), names, cases)):
        never = "" if runs is None else ", which no push and no pull request meets"
        fix = (
            ", which `when` can't say; test for it in the commands of a check" if not never else ""
        )
        return f"it only runs if {job['if']}{never}{fix}"
    if "uses" in job:
        return f"it is the reusable workflow {job['uses']}"
    if "environment" in job:
        return "it deploys to an environment"
    return None
