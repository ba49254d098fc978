"""The context of a call: the repository that it is for, and how far that is trusted."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bassloop.wire.conventions import (
    LIMITS_METADATA,
    TIME_LIMIT_METADATA,
    USES_LABEL,
    label_texts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bassloop.wire import bass_pb2 as pb

_RULE = re.compile(r"[A-Za-z0-9_.-]+/(\*|[A-Za-z0-9_.-]+)\Z")


@dataclass(frozen=True, slots=True)
class PrivateSource:
    """The URL from which the private repository of a call is cloned.

    Args:
        token: the password for the user ``x-access-token``, valid for this call only.
    """

    url: str
    token: str | None = field(default=None, repr=False)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> PrivateSource | None:
        """Return the source that a call's metadata names.

        Returns None for a public repository, and for a URL that isn't the repository's own.
        """
        url = metadata.get("bassloop-clone-url", "")
        repository = metadata.get("bassloop-repository", "")
        if not url or metadata.get("bassloop-visibility") == "public":
            return None
        parts = urlsplit(url)
        path = parts.path.removesuffix(".git").strip("/")
        is_web = parts.scheme in ("https", "http") and parts.hostname and not parts.username
        if not is_web or path.lower() != repository.lower() or not url.isprintable():
            return None
        return cls(url, metadata.get("bassloop-checkout-token") or None)


@dataclass(frozen=True, slots=True)
class ArtifactLimits:
    """The size limits for one artifact, and for all of a run, that a loop accepts."""

    one: int
    all: int

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ArtifactLimits | None:
        """Return the limits of the loop that makes a call, or None if it takes no artifacts."""
        found = re.fullmatch(r"(\d{1,15}) (\d{1,15})", metadata.get(LIMITS_METADATA, ""), re.ASCII)
        return None if found is None else cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class GivenArtifact:
    """An artifact of another check that a run uses.

    Args:
        name: its path in the folder of such artifacts.
    """

    name: str
    sha256: str
    file: Path


@dataclass(frozen=True, slots=True)
class CallContext:
    """The context of a call. Outputs, caches and images are never shared between contexts.

    So a fork can't poison the cache of its base repository, nor one repository that of another. Without a
    repository, the call is from the user of this machine.

    Args:
        isolation: nothing is shared with contexts of another isolation. A loop that has to trust the results puts
        the commit and the thunk here.
        cached_only: whether to run nothing, and use only cached outputs, because somebody looks at one.
        source: the URL of a private repository; contexts that differ only in this are equal.
        artifact_limits: the artifacts that the loop accepts; None if it accepts none.
        given: the artifacts of other checks, for thunks that use some.
        time_limit: the seconds after which the loop cancels the call; None if it doesn't say.
        images: the images that the call has used, by name, with their digests. The driver adds them.
    """

    repository: str | None = None
    fork: bool = False
    cached_only: bool = False
    isolation: str = ""
    source: PrivateSource | None = field(default=None, compare=False)
    artifact_limits: ArtifactLimits | None = field(default=None, compare=False)
    given: tuple[GivenArtifact, ...] = field(default=(), compare=False)
    time_limit: float | None = field(default=None, compare=False)
    images: dict[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> CallContext:
        """Return the context of a call. A call counts as one for a fork unless it says that it isn't."""
        repository = metadata.get("bassloop-repository", "").lower() or None
        fork = repository is not None and metadata.get("bassloop-fork") != "false"
        cached_only = metadata.get("bassloop-kept-only") == "true"
        isolation = metadata.get("bassloop-isolation", "")
        source = PrivateSource.from_metadata(metadata)
        limits = ArtifactLimits.from_metadata(metadata)
        seconds = metadata.get(TIME_LIMIT_METADATA, "")
        known = re.fullmatch(r"\d{1,9}(\.\d{1,9})?", seconds, re.ASCII)
        time_limit = float(seconds) if known else None
        return cls(repository, fork, cached_only, isolation, source, limits, time_limit=time_limit)

    def given_to(self, thunk: pb.Thunk) -> tuple[GivenArtifact, ...]:
        """Return the artifacts for a thunk of the call."""
        return self.given if label_texts(thunk, USES_LABEL) else ()

    def namespaced(self, name: str) -> str:
        """Return 64 hexadecimal digits that differ for each repository, trust, isolation and name."""
        trust = "fork" if self.fork else "own"
        if self.isolation:
            trust = f"{trust} {self.isolation}"
        return hashlib.sha256(f"{self.repository or ''}\n{trust}\n{name}".encode()).hexdigest()


LOCAL = CallContext()


# --- rules: ``owner/name``, or ``owner/*`` for all repositories of an owner --------------------------


def is_rule(text: str) -> bool:
    """Return whether a text is a rule that names repositories."""
    return _RULE.match(text) is not None


def allows(rule: str, repository: str) -> bool:
    """Return whether a rule names a repository, ignoring case as GitHub does."""
    owner, _, _ = repository.lower().partition("/")
    return rule.lower() in (repository.lower(), f"{owner}/*")


def specificity(rule: str) -> int:
    """Return how specific a rule is: from 0 for an empty one, which names all repositories, to 2 for one repository."""
    return 0 if not rule else 1 if rule.endswith("/*") else 2
