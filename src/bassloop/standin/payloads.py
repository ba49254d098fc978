"""Payloads in GitHub's shapes, for the repository's HEAD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bassloop.standin.standin import StandIn

NO_COMMIT = "0" * 40


async def make(standin: StandIn, event: str) -> dict[str, Any]:
    """A payload for an event about HEAD. Raises StandInError."""
    from bassloop.standin.standin import StandInError

    head = await standin.git.commit("HEAD")
    if head is None:
        raise StandInError("the repository has no commit")
    branch = await standin.git.branch()
    common = {
        "sender": user(standin),
        "repository": repository(standin),
        "installation": {"id": standin.installation_id, "node_id": "I_1"},
    }
    match event:
        case "check_suite":
            return {"action": "requested", "check_suite": _suite(standin, head, branch), **common}
        case "check_run":
            made = [run for run in standin.check_runs if run["head_sha"] == head]
            name = made[-1]["name"] if made else "test"
            run = {**(made[-1] if made else {}), "name": name, "head_sha": head}
            run["check_suite"] = _suite(standin, head, branch)
            run["app"] = {"id": standin.app_id}
            return {"action": "rerequested", "check_run": run, **common}
        case "push":
            before = await standin.git.parent(head) or NO_COMMIT
            pushed = {"ref": f"refs/heads/{branch}", "before": before, "after": head}
            flags = {"created": before == NO_COMMIT, "deleted": False, "forced": False}
            return {**pushed, **flags, "commits": [], **common}
        case "pull_request":
            pull = pull_request(standin, head, branch)
            return {"action": "opened", "number": pull["number"], "pull_request": pull, **common}
    raise StandInError(f"no payload can be made for the event {event}; give one with --payload")


def user(standin: StandIn) -> dict[str, Any]:
    """The user as an object of the API."""
    found = standin.user
    return {
        "id": found.id,
        "node_id": found.node_id,
        "login": found.login,
        "type": "User",
        "html_url": f"{standin.url}/{found.login}",
    }


def repository(standin: StandIn) -> dict[str, Any]:
    """The repository as an object of the API."""
    return {
        "id": 201,
        "node_id": "R_201",
        "name": standin.name,
        "full_name": standin.full_name,
        "owner": {"login": standin.owner, "id": standin.user.id, "node_id": standin.user.node_id},
        "private": standin.private,
        "visibility": "private" if standin.private else "public",
        "html_url": f"{standin.url}/{standin.full_name}",
        "clone_url": f"{standin.url}/{standin.full_name}.git",
        "default_branch": "main",
        "fork": False,
    }


def pull_request(
    standin: StandIn, head: str, branch: str, *, fork_owner: dict[str, Any] | None = None
) -> dict[str, Any]:
    """An open pull request, from the repository itself or from somebody's fork of it."""
    base = repository(standin)
    theirs = base
    if fork_owner is not None:
        name = f"{fork_owner['login']}/{standin.name}"
        theirs = {**base, "id": 301, "full_name": name, "owner": fork_owner, "fork": True}
    author = fork_owner or user(standin)
    return {
        "number": 1,
        "state": "open",
        "user": author,
        "head": {"sha": head, "ref": branch, "repo": theirs, "user": author},
        "base": {"sha": head, "ref": "main", "repo": base, "user": user(standin)},
    }


def _suite(standin: StandIn, head: str, branch: str) -> dict[str, Any]:
    return {
        "id": 401,
        "head_sha": head,
        "head_branch": branch,
        "status": "queued",
        "conclusion": None,
        "pull_requests": [],
        "app": {"id": standin.app_id},
    }
