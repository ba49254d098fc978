"""A runner's statement about a run, and the digests in it of the run's log and artifacts.

It's an in-toto statement with a test-result predicate. The runner, the loop and whoever verifies a statement compute
the same digests.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from bassloop.trust import UntrustedStatement
from bassloop.wire.conventions import MAX_ARTIFACTS, REPORT_PREFIX, artifact_path, problem_of_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.wire import progrock_pb2

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
RUN = "bassloop:run"
"""The predicate's extension field for our own data."""

MAX_STATEMENT = 32 << 10
"""The size limit in bytes. Statements are sent in HTTP/2 headers, in base64; those of a response may have 64 KiB."""
MAX_IMAGES = 40
MAX_TEXT = 400
MAX_IMAGE_NAME = 255
MAX_STEPS = 10_000
"""The maximum number of steps with a log. A loop doesn't store more, either."""

PASSED, FAILED = "PASSED", "FAILED"


@dataclass(frozen=True, slots=True)
class RunnerDescription:
    """A runner's description of itself.

    Args:
        version: the program's version.
        engine: what runs commands, such as `podman 5.4`, `bubblewrap` or `host`.
        uses_images: whether commands run in the images that thunks name. Host execution ignores them.
        contained: whether commands have no access to the machine's files, network and processes.
    """

    version: str
    engine: str
    uses_images: bool
    contained: bool


@dataclass(frozen=True, slots=True)
class RunStatement:
    """A runner's statement about a run. Times are in seconds since the epoch, by its own clock.

    Args:
        run: the run's id, which is never used twice.
        login: the runner's owner on GitHub, who lists the key.
        repository: its full name, as sent by the loop.
        commit: the check's head commit, as sent by the loop.
        thunk: the SHA-256 of the thunk that ran, computed by the runner.
        result: `PASSED` or `FAILED`.
        log: the SHA-256 of the log, see `LogDigest`.
        images: the names of images that were used, and their digests.
        artifacts: the paths of the artifacts that were sent, and their SHA-256.
        given: the digest of the artifacts of other checks that it used, see `digest_of_given`.
        message: why it failed.
    """

    run: str
    login: str
    repository: str
    commit: str
    thunk: str
    result: str
    log: str
    started_at: float
    ended_at: float
    runner: RunnerDescription
    images: tuple[tuple[str, str], ...] = ()
    artifacts: tuple[tuple[str, str], ...] = ()
    given: str | None = None
    message: str | None = None

    def encode(self) -> bytes:
        """Return the statement in in-toto's JSON, at most `MAX_STATEMENT` bytes."""
        configuration: list[dict[str, Any]] = [{"name": "thunk", "digest": {"sha256": self.thunk}}]
        for name, digest in self.images[:MAX_IMAGES]:
            algorithm, _, value = digest.rpartition(":")
            configuration.append(
                {"name": name[:MAX_IMAGE_NAME], "digest": {algorithm or "sha256": value[:128]}}
            )
        run: dict[str, Any] = {
            "id": self.run,
            "repository": self.repository,
            "log": {"sha256": self.log},
            "startedOn": format_instant(self.started_at),
            "finishedOn": format_instant(self.ended_at),
            "runner": {
                "name": "bassloop",
                "login": self.login,
                "version": self.runner.version,
                "engine": self.runner.engine,
                "usesImages": self.runner.uses_images,
                "contained": self.runner.contained,
            },
        }
        if self.artifacts:
            run["artifacts"] = [
                {"name": path, "digest": {"sha256": sha256}} for path, sha256 in self.artifacts
            ]
        if self.given is not None:
            run["given"] = {"sha256": self.given}
        if self.message is not None:
            run["message"] = self.message[:MAX_TEXT]
        if len(self.images) > MAX_IMAGES:
            run["imagesLeftOut"] = len(self.images) - MAX_IMAGES
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": self.repository, "digest": {"gitCommit": self.commit}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {"result": self.result, "configuration": configuration, RUN: run},
        }
        return json.dumps(statement, ensure_ascii=False, separators=(",", ":")).encode(
            errors="replace"
        )


def read_statement(payload: bytes) -> RunStatement:
    """Parse a statement. Raises UntrustedStatement, whose message doesn't quote long parts of it."""
    if len(payload) > MAX_STATEMENT:
        raise UntrustedStatement(f"a statement of {len(payload):,} bytes is too long")
    try:
        found = msgspec.json.decode(payload, type=_Statement)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UntrustedStatement(f"the statement can't be read: {str(error)[:200]}") from error
    run = found.predicate.run
    thunks = [each for each in found.predicate.configuration if each.name == "thunk"]
    if len(found.subject) != 1 or len(thunks) != 1:
        raise UntrustedStatement("the statement is not about one commit and one thunk")
    return RunStatement(
        run=run.id,
        login=run.runner.login,
        repository=run.repository,
        commit=found.subject[0].digest.get("gitCommit", ""),
        thunk=thunks[0].digest.get("sha256", ""),
        result=found.predicate.result,
        log=run.log.sha256,
        started_at=_seconds(run.started_on),
        ended_at=_seconds(run.finished_on),
        runner=RunnerDescription(
            run.runner.version, run.runner.engine, run.runner.uses_images, run.runner.contained
        ),
        images=tuple(
            (each.name, ":".join(next(iter(each.digest.items()), ("", ""))))
            for each in found.predicate.configuration
            if each is not thunks[0]
        ),
        artifacts=tuple((each.name, each.digest.get("sha256", "")) for each in run.artifacts),
        given=None if run.given is None else run.given.sha256,
        message=run.message,
    )


def format_instant(at: float) -> str:
    """Format a time for a statement: RFC 3339, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text, re.ASCII):
        raise UntrustedStatement("the statement's times can't be read")
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise UntrustedStatement("the statement's times can't be read") from error


# --- the shape of the JSON: unknown fields are ignored, as in-toto requires ----------------------------

_Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_Digests = Annotated[dict[_Text, _Text], Meta(max_length=8)]


class _Descriptor(Struct, frozen=True):
    name: _Text
    digest: _Digests


class _Digest(Struct, frozen=True):
    sha256: _Text


class _RunnerFacts(Struct, frozen=True, rename="camel"):
    login: _Text
    version: _Text
    engine: _Text
    uses_images: bool
    contained: bool


class _Run(Struct, frozen=True, rename="camel"):
    id: _Text
    repository: _Text
    log: _Digest
    started_on: _Text
    finished_on: _Text
    runner: _RunnerFacts
    artifacts: Annotated[tuple[_Descriptor, ...], Meta(max_length=MAX_ARTIFACTS)] = ()
    given: _Digest | None = None
    message: _Text | None = None


class _Predicate(Struct, frozen=True):
    result: Literal["PASSED", "FAILED"]
    configuration: Annotated[list[_Descriptor], Meta(max_length=MAX_IMAGES + 1)]
    run: _Run = msgspec.field(name=RUN)


class _Statement(Struct, frozen=True, rename="camel"):
    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: Annotated[list[_Descriptor], Meta(max_length=8)]
    predicate_type: Literal["https://in-toto.io/attestation/test-result/v0.1"]
    predicate: _Predicate


# --- digests -----------------------------------------------------------------------------------------


@dataclass(eq=False)
class LogDigest:
    """The digest of the logs of a run's steps, as they are sent.

    It's the SHA-256 of sorted lines of JSON, `["STEP","SHA-256 of the step's log"]`, one for each step with output. So
    it doesn't depend on how logs were split into messages or interleaved.
    """

    overflowed: bool = False
    _steps: dict[str, hashlib._Hash] = field(default_factory=dict)

    def add(self, step: str, data: bytes) -> None:
        """Add a piece of a step's log."""
        if not data:
            return
        if step not in self._steps:
            if len(self._steps) >= MAX_STEPS:
                self.overflowed = True
                return
            self._steps[step] = hashlib.sha256()
        self._steps[step].update(data)

    def hexdigest(self) -> str:
        """Return the digest of everything added so far."""
        return digest_of_logs({step: each.hexdigest() for step, each in self._steps.items()})


def digest_of_logs(steps: Mapping[str, str]) -> str:
    """Return a run's log digest, given the SHA-256 of each step's log in hex. Steps without a log don't count."""
    lines = sorted(json.dumps(each).encode() + b"\n" for each in steps.items())
    return hashlib.sha256(b"".join(lines)).hexdigest()


@dataclass(eq=False)
class ArtifactDigests:
    """The digests of the artifacts that were sent.

    The first artifact with each path counts, unless it has an error.
    """

    _complete: dict[str, str] = field(default_factory=dict)
    _open: dict[str, hashlib._Hash] = field(default_factory=dict)

    def note(self, update: progrock_pb2.StatusUpdate) -> None:
        """Process an update. Its logs come before the ends of steps in it."""
        for log in update.logs:
            path = artifact_path(log.vertex)
            if path is not None and (digest := self._digest(path)) is not None:
                digest.update(log.data)
        for vertex in update.vertexes:
            path = artifact_path(vertex.id)
            if path is None or (digest := self._digest(path)) is None:
                continue
            if vertex.HasField("error"):
                del self._open[path]
            elif vertex.HasField("completed"):
                self._complete[path] = self._open.pop(path).hexdigest()

    def _digest(self, path: str) -> hashlib._Hash | None:
        if path in self._complete or problem_of_path(path) is not None:
            return None
        if path not in self._open:
            if len(self._complete) + len(self._open) >= MAX_ARTIFACTS:
                return None
            self._open[path] = hashlib.sha256()
        return self._open[path]

    def listed(self) -> tuple[tuple[str, str], ...]:
        """Return the paths of the artifacts that are complete, with their SHA-256, sorted."""
        return tuple(sorted(self._complete.items()))


@dataclass(eq=False)
class CallDigests:
    """The digests of a call. Test reports aren't included, since a loop reads but doesn't store them."""

    log: LogDigest = field(default_factory=LogDigest)
    artifacts: ArtifactDigests = field(default_factory=ArtifactDigests)

    def note(self, update: progrock_pb2.StatusUpdate) -> None:
        """Process an update that was sent or received."""
        self.artifacts.note(update)
        for each in update.logs:
            if not each.vertex.startswith(REPORT_PREFIX) and artifact_path(each.vertex) is None:
                self.log.add(each.vertex, each.data)
