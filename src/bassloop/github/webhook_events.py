"""Webhooks: the signature of a body, and the :class:`Event` in it. No I/O, for any input.

Only the parts of a body that the loop needs are decoded; the rest is skipped, which takes a fraction of the time and
no memory. A missing field is None, and one with a type that GitHub never sends makes the event malformed. The rules
for which commit an event is about, and where that came from, follow GitHub's published examples.

https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from bassloop.github.models import CheckSubject, Event, Head, Payload, Repository, User

if TYPE_CHECKING:
    from collections.abc import Mapping


Number: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
SHA: TypeAlias = Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}\Z")]
Login: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,100}(\[bot\])?\Z")]
FullName: TypeAlias = Annotated[
    str, Meta(pattern=r"\A[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}\Z")
]

_NO_COMMIT: Final = "0" * 40

_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_GUID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")


class MalformedEvent(ValueError):
    """The payload isn't one that GitHub would send; the message says why."""


# --- the fields that are read of a payload, by GitHub's names ---


class _User(Struct):
    id: Number
    login: Login
    node_id: str | None = None
    type: str | None = None

    def read(self) -> User:
        bot = self.type == "Bot" or self.login.endswith("[bot]")
        return User(self.id, self.node_id or "", self.login, bot)


class _Repository(Struct):
    id: Number
    full_name: FullName
    node_id: str | None = None
    private: bool | None = None
    visibility: str | None = None
    clone_url: str | None = None
    html_url: str | None = None
    default_branch: str | None = None

    def read(self) -> Repository:
        owner, _, name = self.full_name.partition("/")
        return Repository(
            id=self.id,
            node_id=self.node_id or "",
            full_name=self.full_name,
            owner=owner,
            name=name,
            visibility=self._visibility(),
            clone_url=self.clone_url or "",
            html_url=self.html_url or "",
            default_branch=self.default_branch or "",
        )

    def _visibility(self) -> str:
        """Return "public" only if all fields that are present agree on it; unknown is private."""
        if self.private is False and self.visibility in (None, "public"):
            return "public"
        if self.visibility in ("private", "internal"):
            return self.visibility
        return "private"


class _WithId(Struct):
    id: Number | None = None


class _Installation(Struct):
    id: Number


class _Payload(Struct):
    """The fields that any event may have. Events about a commit or a person have more."""

    action: str | None = None
    sender: _User | None = None
    repository: _Repository | None = None
    installation: _Installation | None = None

    def repository_name(self) -> str | None:
        return self.repository.full_name if self.repository else None

    def details(self) -> dict[str, Any]:
        """Return the fields of the :class:`Event` that this class lacks."""
        return {}


class _PullRequestNumber(Struct):
    number: Number | None = None


class _Check(Struct):
    """A check suite, or a check run without its suite."""

    id: Number | None = None
    name: str | None = None
    head_sha: SHA | None = None
    head_branch: str | None = None
    before: str | None = None
    app: _WithId | None = None
    pull_requests: tuple[_PullRequestNumber, ...] | None = None

    def subject(self) -> CheckSubject:
        return CheckSubject(self.id, self.name, self.app.id if self.app else None)

    def head(self, branch: str | None, repository: str | None) -> Head | None:
        """Return a check's head. Without a branch, the payload doesn't say which repository it is from."""
        if not branch:
            return _head(self.head_sha, fork=None)
        pulls = self.pull_requests or ()
        return _head(
            self.head_sha,
            branch=branch,
            pull_request=pulls[0].number if len(pulls) == 1 else None,
            repository=repository,
            fork=False,
        )


class _CheckSuiteEvent(_Payload):
    check_suite: _Check | None = None

    def details(self) -> dict[str, Any]:
        suite = self.check_suite
        if suite is None:
            return {}
        return {
            "head": suite.head(suite.head_branch, self.repository_name()),
            "check": suite.subject(),
            "before": suite.before if self.action == "requested" else None,
        }


class _SuiteOfRun(Struct):
    head_branch: str | None = None


class _CheckRun(_Check):
    check_suite: _SuiteOfRun | None = None


class _RequestedAction(Struct):
    identifier: str | None = None


class _CheckRunEvent(_Payload):
    check_run: _CheckRun | None = None
    requested_action: _RequestedAction | None = None

    def details(self) -> dict[str, Any]:
        run = self.check_run
        if run is None:
            return {}
        branch = run.check_suite.head_branch if run.check_suite else None
        return {
            "head": run.head(branch, self.repository_name()),
            "check": run.subject(),
            "button": self.requested_action.identifier if self.requested_action else None,
        }


class _MergeGroup(Struct):
    head_sha: SHA | None = None
    head_ref: str | None = None


class _MergeGroupEvent(_Payload):
    merge_group: _MergeGroup | None = None

    def details(self) -> dict[str, Any]:
        group = self.merge_group or _MergeGroup()
        where = self.repository_name()
        head = _head(group.head_sha, ref=group.head_ref or None, repository=where, fork=False)
        return {"head": head}


class _HeadRepository(Struct):
    id: Number | None = None
    full_name: str | None = None


class _PullRequestHead(Struct):
    sha: SHA | None = None
    ref: str | None = None
    repo: _HeadRepository | None = None
    user: _User | None = None


class _Base(Struct):
    ref: str | None = None


class _PullRequest(Struct):
    number: Number | None = None
    head: _PullRequestHead | None = None
    base: _Base | None = None
    user: _User | None = None
    author_association: str | None = None


class _PullRequestEvent(_Payload):
    pull_request: _PullRequest | None = None
    before: str | None = None

    def details(self) -> dict[str, Any]:
        before = self.before if self.action == "synchronize" else None
        return {"head": self._head(), "before": before}

    def _head(self) -> Head | None:
        """Return a pull request's head. It's a fork's if its repository is a different one, or deleted.

        A fork's author is its owner, who can push to it. Organizations have no runners, so if one owns the
        fork, the author is that of the pull request.
        """
        pull = self.pull_request
        if pull is None or pull.head is None:
            return None
        head, theirs = pull.head, pull.head.repo
        fork = theirs is None or self.repository is None or theirs.id != self.repository.id
        owner = head.user if head.user and head.user.type != "Organization" else pull.user
        return _head(
            head.sha,
            branch=None if fork else head.ref,
            pull_request=pull.number,
            repository=(theirs and theirs.full_name) or None,
            fork=fork,
            author=owner.read() if fork and owner else None,
            association=pull.author_association or None,
            base=(pull.base and pull.base.ref) or None,
        )


class _Commit(Struct):
    id: SHA | None = None


class _PushEvent(_Payload):
    ref: str | None = None
    before: str | None = None
    after: SHA | None = None
    deleted: bool | None = None
    head_commit: _Commit | None = None

    def details(self) -> dict[str, Any]:
        return {"head": self._head(), "before": self.before}

    def _head(self) -> Head | None:
        """Return the commit that a push moved its ref to; None if it deleted the ref."""
        ref, sha = self.ref or "", self.after
        if self.deleted or sha == _NO_COMMIT:
            return None
        if ref.startswith("refs/tags/") and self.head_commit is not None:
            # An annotated tag's `after` may be the tag object, but check runs need a commit.
            sha = self.head_commit.id or sha
        return _head(
            sha,
            branch=ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else None,
            ref=ref or None,
            repository=self.repository_name(),
            fork=False,
        )


class _MemberEvent(_Payload):
    # Without a readable member, everybody's permissions may have changed.
    member: msgspec.Raw = msgspec.Raw(b"null")

    def details(self) -> dict[str, Any]:
        try:
            member = msgspec.json.decode(self.member, type=_WithId | None)
        except msgspec.ValidationError:
            return {}
        return {"member_id": member.id if member else None}


class _Membership(Struct):
    user: _WithId | None = None


class _OrganizationEvent(_Payload):
    membership: _Membership | None = None

    def details(self) -> dict[str, Any]:
        user = self.membership.user if self.membership else None
        return {"member_id": user.id if user else None}


_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    name: msgspec.json.Decoder(shape)
    for name, shape in {
        "check_suite": _CheckSuiteEvent,
        "check_run": _CheckRunEvent,
        "merge_group": _MergeGroupEvent,
        "pull_request": _PullRequestEvent,
        "push": _PushEvent,
        "member": _MemberEvent,
        "membership": _MemberEvent,
        "organization": _OrganizationEvent,
    }.items()
}
_ANY: Final = msgspec.json.Decoder(_Payload)


# --- the public functions ---


def sign(secret: bytes, body: bytes) -> str:
    """Return the value of ``X-Hub-Signature-256`` for a body."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def verify_signature(secret: bytes, body: bytes, header: str) -> bool:
    """Return whether a header is the signature of a body, in constant time."""
    return hmac.compare_digest(sign(secret, body).encode(), header.encode(errors="replace"))


def parse_event(name: str, body: bytes) -> Event:
    """Read what the loop needs of a webhook's body. Raises MalformedEvent."""
    try:
        payload: _Payload = _DECODERS.get(name, _ANY).decode(body)
    except msgspec.ValidationError as error:
        raise MalformedEvent(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEvent(f"it is not JSON: {error}") from error
    return Event(
        name=name,
        action=payload.action,
        sender=payload.sender.read() if payload.sender else None,
        repository=payload.repository.read() if payload.repository else None,
        installation_id=payload.installation.id if payload.installation else None,
        **payload.details(),
    )


def parse_repository(answer: Payload) -> Repository:
    """Read a repository object of the API. Raises MalformedEvent."""
    try:
        return msgspec.convert(dict(answer), _Repository).read()
    except msgspec.ValidationError as error:
        raise MalformedEvent(str(error)) from error


def _head(sha: str | None, *, fork: bool | None, **known: Any) -> Head | None:
    return None if sha is None or sha == _NO_COMMIT else Head(sha, fork=fork, **known)


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """The response to a webhook request: an HTTP status and a sentence."""

    status: int
    message: str


def well_formed(event: str, guid: str) -> bool:
    """Return whether these are valid as the name of an event and the id of a delivery."""
    return bool(_EVENT_NAME.match(event) and _GUID.match(guid))


def refusal(
    headers: Mapping[str, str], body: bytes, secret: bytes | None
) -> WebhookResponse | None:
    """Return why a request is refused, or None if it is well-formed and its signature is valid.

    The body isn't parsed.

    Args:
        headers: names in lower case.
        secret: what deliveries are signed with; None refuses all of them.
    """
    event, guid = headers.get("x-github-event", ""), headers.get("x-github-delivery", "")
    if not event:
        return WebhookResponse(400, "the header X-GitHub-Event is missing")
    if not well_formed(event, guid):
        return WebhookResponse(400, "the header X-GitHub-Event or X-GitHub-Delivery is malformed")
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        message = "set the webhook's content type to application/json in the App's settings"
        return WebhookResponse(415, message)
    if secret is None:
        return WebhookResponse(
            503, "this loop has no GITHUB_APP_WEBHOOK_SECRET, so it accepts no deliveries"
        )
    signature = headers.get("x-hub-signature-256", "")
    if not signature:
        return WebhookResponse(
            401, "the delivery is not signed; set the webhook secret in the App's settings"
        )
    if not verify_signature(secret, body, signature):
        return WebhookResponse(
            403, "the signature is wrong; is GITHUB_APP_WEBHOOK_SECRET the App's secret?"
        )
    return None
