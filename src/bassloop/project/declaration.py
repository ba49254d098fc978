"""The schema of `[checks.NAME]`: the keys, their types, and their limits.

The published JSON Schema is generated from these models, so editors complete exactly what the loop accepts.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from bassloop.repository_files import CONFIG_FILE
from bassloop.units import parse_duration

MAX_CHECKS = 200
MAX_JOBS = 256
"""The maximum number of checks, including all combinations of matrices."""

_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]{1,100}\Z")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,49}\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}\Z")
_IMAGE = re.compile(
    r"(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::\d{1,5})?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::\w[\w.-]{0,127})?(?:@[a-z0-9+._-]+:[0-9a-fA-F]+)?\Z"
)
"""A reference: a registry's host and port, a repository in small letters, a tag and a digest."""

_INSERTED = re.compile(r"\$\{[A-Za-z][A-Za-z0-9_-]*\}")


def _named(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def validate(value: str) -> str:
        if not pattern.match(value):
            raise ValueError(f"{value[:60]!r} is not {what}")
        return value

    return AfterValidator(validate)


def _image(value: str) -> str:
    plain = _INSERTED.sub("0", value)
    if len(value) > 300 or not _IMAGE.match(plain):
        problem = f'{value[:60]!r} is not an image, such as "python:3.13-slim"'
        if "://" in value:
            problem += "; write its name without a scheme"
        elif _IMAGE.match(plain.lower()):
            problem += "; write it in small letters"
        raise ValueError(problem)
    return value


def _inside(value: str) -> str:
    if value.startswith(("/", "~", "$HOME")) or ".." in value.split("/"):
        raise ValueError(f'{value[:60]!r} must be a path in the repository, such as "dist"')
    return value


def _cache_folder(value: str) -> str:
    if value.startswith(("~", "$HOME", "${HOME}")):
        raise ValueError(
            f'no shell expands {value[:60]!r}: write the whole path, such as "/root/.cache"'
        )
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("the command must not be empty")
    return value


def _duration(value: object) -> object:
    """Return seconds for ``90``, ``"90s"``, ``"10m"`` or ``"1h 30m"``."""
    return round(parse_duration(value)) if isinstance(value, str) else value


def _listed(value: object) -> object:
    """Accept a single string in place of a list with one member."""
    return [value] if isinstance(value, str) else value


Name = Annotated[str, _named(_NAME, "a name: 1 to 100 printable characters, without slashes")]
Key = Annotated[str, _named(_KEY, "a name: letters, digits, - and _, the first a letter")]
Variable = Annotated[str, _named(_VARIABLE, "an environment variable's name")]
Image = Annotated[str, AfterValidator(_image)]
Text = Annotated[str, Field(max_length=10_000)]
Line = Annotated[Text, AfterValidator(_not_blank)]
Inside = Annotated[Text, AfterValidator(_inside)]
Folder = Annotated[Text, AfterValidator(_cache_folder)]
Texts = Annotated[list[Text], BeforeValidator(_listed), Field(max_length=100)]
Paths = Annotated[list[Inside], BeforeValidator(_listed), Field(max_length=100)]
Seconds = Annotated[int, BeforeValidator(_duration), Field(gt=0, le=7 * 86400)]
Port = Annotated[int, Field(ge=1, le=65535)]

Command = Line | Annotated[list[Text], Field(min_length=1, max_length=1_000)]
"""A command line for the shell, or a program and its arguments."""

EventName = Literal["push", "pull_request", "merge_group"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Service(_Model):
    """A program that runs beside the check and listens on a port.

    The check gets its address in two variables named after the service, such as ``DB_HOST`` and ``DB_PORT``.
    """

    image: Image
    run: Line = Field(
        description="A line for the image's shell, such as its entrypoint with arguments."
    )
    port: Port
    env: dict[Variable, Text] = Field(default_factory=dict, max_length=100)


class When(_Model):
    """The events that start a check. A condition that's left out matches everything."""

    events: list[EventName] | None = Field(None, max_length=10)
    branches: Texts | None = Field(
        None,
        description="The branch of a push, or a pull request's target branch; * and ** are wildcards.",
    )


MatrixValue = Annotated[str, Field(max_length=150)]
"""A value is part of its check's name, and it may be inserted wherever a text has four characters."""

Matrix = dict[Key, Annotated[list[MatrixValue | int | float], Field(min_length=1, max_length=50)]]
"""A check is started for each combination, with its values in place of ``${name}`` in texts."""


class CheckDeclaration(_Model):
    """One check: commands in an image, with the repository's files as their working directory."""

    run: Line | Annotated[list[Command], Field(min_length=1, max_length=100)] = Field(
        description="A line for the shell, or a list of commands, which run one after the other: "
        "lines for the shell, or lists of a program and its arguments."
    )
    image: Image | None = Field(
        None, description="Without one, the runner's own programs are used."
    )
    env: dict[Variable, Text] = Field(
        default_factory=dict, max_length=200, description="Environment variables."
    )
    needs: list[Name] = Field(
        default_factory=list, max_length=50, description="Checks that must have succeeded before."
    )
    matrix: Matrix = Field(
        default_factory=dict,
        max_length=5,
        description="Lists of values, by name: a check for each combination.",
    )
    caches: dict[Key, Folder] = Field(
        default_factory=dict,
        max_length=20,
        description="Folders that the runner keeps for the next run, by name.",
    )
    services: dict[Key, Service] = Field(
        default_factory=dict,
        max_length=10,
        description="Programs that run beside the check, by name.",
    )
    secrets: list[Variable] = Field(
        default_factory=list,
        max_length=50,
        description="Secrets of the runner's owner, as variables of the same name.",
    )
    when: When = Field(When(), description="Which events and branches start it; all by default.")
    reports: Paths = Field(
        default_factory=list,
        description="Test reports that it writes (JUnit XML or TAP): paths below workdir; * and ** are wildcards.",
    )
    artifacts: Paths = Field(
        default_factory=list,
        description="Files that are stored with the run: paths below workdir; * and ** are wildcards, and a slash "
        "at the end stores a folder as one archive.",
    )
    runners: Literal["sender", "trusted", "both"] | None = Field(
        None,
        description="The runners that it runs on: `sender`, `trusted` or `both`, as in the policy's `[trust.checks]`. "
        "Only the file on the default branch counts.",
    )
    uses: list[Name] = Field(
        default_factory=list,
        max_length=10,
        description="Checks that must have succeeded before. Their artifacts are in `artifacts/NAME`.",
    )
    timeout: Seconds | None = Field(None, description='The time limit: "90s", "10m", "1h 30m".')
    workdir: Inside = Field(".", description="A folder of the repository to run in.")

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: object) -> object:
        """Accept a command in place of a table with `run`."""
        return {"run": value} if isinstance(value, (str, list)) else value

    @property
    def all_needs(self) -> list[str]:
        """The checks that must have succeeded before, from `needs` and `uses`, each once."""
        return list(dict.fromkeys((*self.needs, *self.uses)))

    @property
    def commands(self) -> list[Command]:
        """The commands, in order."""
        return [self.run] if isinstance(self.run, str) else list(self.run)


class ChecksFile(BaseModel):
    """The part of the file that declares checks. Policy, in the same file, is read elsewhere."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, defer_build=True)

    checks: dict[Name, CheckDeclaration] = Field(default_factory=dict, max_length=MAX_CHECKS)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors."""
    schema = ChecksFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"Bass Loop: {CONFIG_FILE}"
    return schema
