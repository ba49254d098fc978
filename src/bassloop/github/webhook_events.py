"""Webhooks: the signature of a body, and the :class:`Event` in a payload. Pure, for any input.

What a payload lacks is None; what it has in a shape that GitHub never sends makes it malformed.
Which commit an event is about, and where that came from, follows the published examples.

https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from bassloop.github.models import Event, Head, Payload, Repository, User

_SHA = re.compile(r"[0-9a-f]{40}\Z")
_FULL_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}\Z")
_LOGIN = re.compile(r"[A-Za-z0-9_-]{1,100}(\[bot\])?\Z")
_NO_COMMIT = "0" * 40


def sign(secret: bytes, body: bytes) -> str:
    """Return the value of ``X-Hub-Signature-256`` for a body."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def verify_signature(secret: bytes, body: bytes, header: str) -> bool:
    """Return whether a header signs a body, in a time that does not depend on the header."""
    return hmac.compare_digest(sign(secret, body).encode(), header.encode(errors="replace"))


class MalformedEvent(ValueError):
    """A payload that GitHub would not send; the message says what is wrong with it."""


def parse_event(name: str, payload: Payload) -> Event:
    """Read what the loop needs of a payload. Raises MalformedEvent."""
    action = payload.get("action")
    if action is not None and not isinstance(action, str):
        raise MalformedEvent("action is not a text")
    repository = _repository(_object(payload, "repository"))
    installation = _object(payload, "installation")
    return Event(
        name=name,
        action=action,
        sender=_user(_object(payload, "sender"), "sender"),
        repository=repository,
        installation_id=None
        if installation is None
        else _number(installation, "id", "installation"),
        head=_head(name, payload, repository),
        payload=payload,
    )


def parse_repository(payload: Payload) -> Repository:
    """Read a repository object of the API. Raises MalformedEvent."""
    repository = _repository(payload)
    assert repository is not None
    return repository


def _repository(payload: Payload | None) -> Repository | None:
    if payload is None:
        return None
    full_name = payload.get("full_name")
    if not isinstance(full_name, str) or not _FULL_NAME.match(full_name):
        raise MalformedEvent("repository.full_name is not OWNER/NAME")
    owner, _, name = full_name.partition("/")
    return Repository(
        id=_number(payload, "id", "repository"),
        node_id=_text(payload, "node_id"),
        full_name=full_name,
        owner=owner,
        name=name,
        visibility=_visibility(payload),
        clone_url=_text(payload, "clone_url"),
        html_url=_text(payload, "html_url"),
        default_branch=_text(payload, "default_branch"),
    )


def _visibility(payload: Payload) -> str:
    """Return public only if every field that says something says so; unknown is private."""
    visibility, private = payload.get("visibility"), payload.get("private")
    if private is False and visibility in (None, "public"):
        return "public"
    return visibility if visibility in ("private", "internal") else "private"


def _head(name: str, payload: Payload, repository: Repository | None) -> Head | None:
    match name:
        case "check_suite" | "check_run":
            return _check_head(_object(payload, name), name, repository)
        case "merge_group":
            group = _object(payload, "merge_group") or {}
            return _make_head(
                group.get("head_sha"),
                ref=_text(group, "head_ref") or None,
                repository=repository.full_name if repository else None,
                fork=False,
            )
        case "pull_request":
            return _pull_request_head(_object(payload, "pull_request"), repository)
        case "push":
            return _push_head(payload, repository)
    return None


def _push_head(payload: Payload, repository: Repository | None) -> Head | None:
    """Return the commit that a push moved its ref to, or None if it deleted the ref."""
    ref, sha = _text(payload, "ref"), payload.get("after")
    if payload.get("deleted") is True or sha == _NO_COMMIT:
        return None
    if ref.startswith("refs/tags/"):
        # An annotated tag's `after` may be the tag's own object; check runs are for commits.
        sha = (_object(payload, "head_commit") or {}).get("id") or sha
    return _make_head(
        sha,
        branch=ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else None,
        ref=ref or None,
        repository=repository.full_name if repository else None,
        fork=False,
    )


def _check_head(check: Payload | None, name: str, repository: Repository | None) -> Head | None:
    """Return a check's head: with a branch it is the repository's own; without one, that is unknown."""
    if check is None:
        return None
    suite = (_object(check, "check_suite") or {}) if name == "check_run" else check
    branch = suite.get("head_branch")
    if not isinstance(branch, str) or not branch:
        return _make_head(check.get("head_sha"), fork=None)
    pulls = check.get("pull_requests")
    listed = pulls if isinstance(pulls, list) else []
    numbers = [pull.get("number") for pull in listed if isinstance(pull, Mapping)]
    return _make_head(
        check.get("head_sha"),
        branch=branch,
        pull_request=numbers[0] if len(numbers) == 1 and _is_number(numbers[0]) else None,
        repository=repository.full_name if repository else None,
        fork=False,
    )


def _pull_request_head(pull: Payload | None, base: Repository | None) -> Head | None:
    """Return a pull request's head; it is a fork's when its repository is another one, or gone.

    The author of a fork's head is the fork's owner, who can push to it; where an organization owns it,
    which has no runners, it is the pull request's author.
    """
    head = _object(pull or {}, "head")
    if pull is None or head is None:
        return None
    theirs = _object(head, "repo")
    fork = theirs is None or base is None or theirs.get("id") != base.id
    author = None
    if fork:
        owner = _object(head, "user")
        if owner is not None and owner.get("type") != "Organization":
            author = _user(owner, "pull_request.head.user")
        author = author or _user(_object(pull, "user"), "pull_request.user")
    branch, number = head.get("ref"), pull.get("number")
    return _make_head(
        head.get("sha"),
        branch=branch if isinstance(branch, str) and not fork else None,
        pull_request=number if _is_number(number) else None,
        repository=_text(theirs or {}, "full_name") or None,
        fork=fork,
        author=author,
        association=_text(pull, "author_association") or None,
        base=_text(_object(pull, "base") or {}, "ref") or None,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _make_head(sha: object, **known: Any) -> Head | None:
    if sha is None or sha == _NO_COMMIT:
        return None
    if not isinstance(sha, str) or not _SHA.match(sha):
        raise MalformedEvent("the head is not a commit's 40 hexadecimal digits")
    return Head(sha, **known)


def _user(payload: Payload | None, where: str) -> User | None:
    if payload is None:
        return None
    login = payload.get("login")
    if not isinstance(login, str) or not _LOGIN.match(login):
        raise MalformedEvent(f"{where}.login is not a login")
    bot = payload.get("type") == "Bot" or login.endswith("[bot]")
    return User(_number(payload, "id", where), _text(payload, "node_id"), login, bot)


def _object(payload: Payload, name: str) -> Payload | None:
    value = payload.get(name)
    if value is None or isinstance(value, Mapping):
        return value
    raise MalformedEvent(f"{name} is not an object")


def _number(payload: Payload, name: str, where: str) -> int:
    value = payload.get(name)
    if not isinstance(value, int) or not _is_number(value):
        raise MalformedEvent(f"{where}.{name} is not a number")
    return value


def _text(payload: Payload, name: str) -> str:
    value = payload.get(name)
    return value if isinstance(value, str) else ""
