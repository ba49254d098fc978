"""Webhook payloads in GitHub's published shapes.

What a payload lacks matters, too: for a fork's head, check_suite and check_run have no branch, pull request or author.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bassloop.standin import objects
from bassloop.standin.state import StandInError

if TYPE_CHECKING:
    from bassloop.standin.state import Account, StandInState

NO_COMMIT = "0" * 40
EVENTS = (
    "check_suite",
    "check_run",
    "push",
    "pull_request",
    "merge_group",
    "repository_dispatch",
    "ping",
    "installation",
)
ACTIONS = {
    "check_suite": "requested",
    "check_run": "rerequested",
    "pull_request": "opened",
    "merge_group": "checks_requested",
    "installation": "created",
    "repository_dispatch": "wanted",
}


@dataclass(frozen=True, slots=True)
class _Subject:
    """The subject of a payload."""

    standin: StandInState
    head: str
    branch: str
    fork: Account | None
    sender: Account

    @property
    def common(self) -> dict[str, Any]:
        return {
            "repository": objects.repository(self.standin),
            "sender": objects.user(self.standin, self.sender),
            "installation": {"id": self.standin.installation_id, "node_id": "I_1"},
        }


async def make(
    standin: StandInState,
    event: str,
    action: str | None = None,
    *,
    ref: str = "HEAD",
    branch: str | None = None,
    fork: str | None = None,
    sender: str | None = None,
    check_run: int | None = None,
    name: str | None = None,
    requested_action: str | None = None,
    deleted: bool = False,
    number: int = 1,
) -> dict[str, Any]:
    """Make a payload. Raises StandInError for an unsupported event or an unknown ref.

    Args:
        action: the event's action; by default the one that starts checks.
        ref: the commit.
        branch: the commit's branch; by default the one that is checked out.
        fork: the login of the owner of the fork with the commit; None for the repository itself.
        sender: the login of the sender; by default the fork's owner, or the stand-in's user.
        check_run: for check_run, its id; by default the commit's newest one.
        name: for check_run, the name of one that doesn't exist yet, instead of `check_run`.
        requested_action: for check_run requested_action, the button's identifier.
        deleted: for push, whether the branch was deleted.
        number: for pull_request, its number.
    """
    if event not in EVENTS:
        known = ", ".join(EVENTS)
        raise StandInError(
            f"no payload can be made for {event}, only for {known}; give its payload"
        )
    await standin.prepare()
    head = await standin.git.commit(ref)
    if head is None:
        raise StandInError(f"the repository has no commit {ref}")
    owner = standin.account(fork) if fork else None
    subject = _Subject(
        standin=standin,
        head=head,
        branch=branch or await standin.git.branch() or standin.default_branch,
        fork=owner,
        sender=standin.account(sender) if sender else owner or standin.account(standin.login),
    )
    action = action or ACTIONS.get(event, "")
    match event:
        case "check_suite":
            return {"action": action, "check_suite": await _suite(subject), **subject.common}
        case "check_run":
            return await _check_run(subject, action, check_run, requested_action, name)
        case "push":
            return await _push(subject, deleted=deleted)
        case "pull_request":
            return await _pull_request(subject, action, number)
        case "merge_group":
            return await _merge_group(subject, action)
        case "repository_dispatch":
            branch = standin.default_branch
            return {"action": action, "branch": branch, "client_payload": {}, **subject.common}
        case "installation":
            return _installation(subject, action)
    return _ping(subject)


async def _suite(subject: _Subject) -> dict[str, Any]:
    standin, head = subject.standin, subject.head
    found = await standin.git.show(head)
    pushed = objects.pushed_commit(standin, found)
    api = f"{standin.api_path}/check-suites/{suite_id(head)}"
    return {
        "id": suite_id(head),
        "node_id": f"CS_{suite_id(head)}",
        "head_branch": None if subject.fork else subject.branch,
        "head_sha": head,
        "status": "queued",
        "conclusion": None,
        "url": api,
        "before": (found.parents or (NO_COMMIT,))[0],
        "after": head,
        "pull_requests": [],
        "app": objects.app(standin),
        "created_at": objects.LONG_AGO,
        "updated_at": objects.LONG_AGO,
        "rerequestable": True,
        "runs_rerequestable": True,
        "latest_check_runs_count": sum(run["head_sha"] == head for run in standin.check_runs),
        "check_runs_url": f"{api}/check-runs",
        "head_commit": {
            name: pushed[name]
            for name in ("id", "tree_id", "message", "timestamp", "author", "committer")
        },
    }


def suite_id(head: str) -> int:
    """Return the id of the App's check suite for a commit. Each commit has one."""
    return int(head[:12], 16)


def new_check_run(standin: StandInState, head: str, name: str = "") -> dict[str, Any]:
    """Return a check run of the App's in its initial state."""
    number = next(standin.ids)
    api = f"{standin.api_path}/check-runs/{number}"
    return {
        "id": number,
        "name": name,
        "node_id": f"CR_{number}",
        "head_sha": head,
        "external_id": "",
        "url": api,
        "html_url": f"{standin.url}/{standin.full_name}/runs/{number}",
        "details_url": standin.url,
        "status": "queued",
        "conclusion": None,
        "started_at": objects.timestamp(time.time()),
        "completed_at": None,
        "output": {
            "title": None,
            "summary": None,
            "text": None,
            "annotations_count": 0,
            "annotations_url": f"{api}/annotations",
        },
        "check_suite": {"id": suite_id(head)},
        "app": objects.app(standin),
        "pull_requests": [],
    }


async def _check_run(
    subject: _Subject, action: str, number: int | None, requested: str | None, name: str | None
) -> dict[str, Any]:
    wanted = (
        [new_check_run(subject.standin, subject.head, name)]
        if name
        else [
            run
            for run in subject.standin.check_runs
            if (run["id"] == number if number is not None else run["head_sha"] == subject.head)
        ]
    )
    if not wanted:
        raise StandInError("the event is about a check run, but this commit has none yet")
    run = {**wanted[-1], "check_suite": await _suite(subject)}
    pressed = {"requested_action": {"identifier": requested}} if requested else {}
    return {"action": action, "check_run": run, **pressed, **subject.common}


async def _push(subject: _Subject, *, deleted: bool) -> dict[str, Any]:
    standin = subject.standin
    found = await standin.git.show(subject.head)
    before = subject.head if deleted else (found.parents or (NO_COMMIT,))[0]
    after = NO_COMMIT if deleted else subject.head
    commit = None if deleted else objects.pushed_commit(standin, found)
    person = {"name": subject.sender.login, "email": found.author[1]}
    compare = f"{standin.url}/{standin.full_name}/compare/{before[:12]}...{after[:12]}"
    return {
        "ref": f"refs/heads/{subject.branch}",
        "before": before,
        "after": after,
        "created": before == NO_COMMIT,
        "deleted": deleted,
        "forced": False,
        "base_ref": None,
        "compare": compare,
        "commits": [commit] if commit else [],
        "head_commit": commit,
        "pusher": person,
        **subject.common,
    }


async def _pull_request(subject: _Subject, action: str, number: int) -> dict[str, Any]:
    standin = subject.standin
    pull = pull_request(standin, number, subject.head, subject.branch, subject.fork, subject.sender)
    standin.pulls[:] = [kept for kept in standin.pulls if kept["number"] != number]
    if action == "closed":
        pull["state"] = "closed"
    standin.pulls.insert(0, pull)
    synchronized = {"before": NO_COMMIT, "after": subject.head} if action == "synchronize" else {}
    full = {
        **pull,
        **dict.fromkeys(("merged", "maintainer_can_modify"), False),
        **dict.fromkeys(("mergeable", "rebaseable", "merged_by")),
        **dict.fromkeys(("comments", "review_comments", "additions", "deletions"), 0),
        "mergeable_state": "unknown",
        "commits": 1,
        "changed_files": 1,
    }
    return {
        "action": action,
        "number": number,
        "pull_request": full,
        **synchronized,
        **subject.common,
    }


def pull_request(
    standin: StandInState,
    number: int,
    head: str,
    branch: str,
    fork: Account | None,
    author: Account,
) -> dict[str, Any]:
    """Return a pull request as in a list of them, from the repository itself or a fork."""
    html, api = f"{standin.url}/{standin.full_name}/pull/{number}", standin.api_path
    head_owner = fork or standin.owner_account
    urls = {
        "html": html,
        "diff": f"{html}.diff",
        "patch": f"{html}.patch",
        "issue": f"{api}/issues/{number}",
        "commits": f"{api}/pulls/{number}/commits",
        "review_comments": f"{api}/pulls/{number}/comments",
        "review_comment": f"{api}/pulls/comments{{/number}}",
        "comments": f"{api}/issues/{number}/comments",
        "statuses": f"{api}/statuses/{head}",
    }
    base = standin.owner_account
    return {
        "url": f"{api}/pulls/{number}",
        "id": 5000 + number,
        "node_id": f"PR_{number}",
        **{f"{name}_url": url for name, url in urls.items()},
        "number": number,
        "state": "open",
        "locked": False,
        "title": "A change",
        "user": objects.user(standin, author),
        "body": None,
        "created_at": objects.LONG_AGO,
        "updated_at": objects.LONG_AGO,
        **dict.fromkeys(("closed_at", "merged_at", "merge_commit_sha", "assignee", "milestone")),
        **{name: [] for name in ("assignees", "requested_reviewers", "requested_teams", "labels")},
        "draft": False,
        "head": _end(standin, head_owner, branch, head, objects.repository(standin, fork)),
        "base": _end(standin, base, standin.default_branch, head, objects.repository(standin)),
        "_links": {
            name: {"href": urls[name]}
            for name in ("html", "issue", "comments", "commits", "statuses")
        }
        | {
            "self": {"href": f"{api}/pulls/{number}"},
            "review_comments": {"href": urls["review_comments"]},
            "review_comment": {"href": urls["review_comment"]},
        },
        "author_association": fork.association if fork else "OWNER",
        "auto_merge": None,
        "active_lock_reason": None,
    }


def _end(
    standin: StandInState, owner: Account, branch: str, sha: str, repository: dict[str, Any]
) -> dict[str, Any]:
    return {
        "label": f"{owner.login}:{branch}",
        "ref": branch,
        "sha": sha,
        "user": objects.user(standin, owner),
        "repo": repository,
    }


async def _merge_group(subject: _Subject, action: str) -> dict[str, Any]:
    standin = subject.standin
    found = await standin.git.show(subject.head)
    pushed = objects.pushed_commit(standin, found)
    names = ("id", "tree_id", "message", "timestamp", "author", "committer")
    base = (found.parents or (NO_COMMIT,))[0]
    group = {
        "head_sha": subject.head,
        "head_ref": f"refs/heads/gh-readonly-queue/{standin.default_branch}/pr-1-{base}",
        "base_sha": base,
        "base_ref": f"refs/heads/{standin.default_branch}",
        "head_commit": {name: pushed[name] for name in names},
    }
    return {"action": action, "merge_group": group, **subject.common}


def _installation(subject: _Subject, action: str) -> dict[str, Any]:
    standin = subject.standin
    repository = objects.repository(standin)
    short = {name: repository[name] for name in ("id", "node_id", "name", "full_name", "private")}
    return {
        "action": action,
        "installation": objects.installation(standin),
        "repositories": [short],
        "requester": None,
        "sender": objects.user(standin, subject.sender),
    }


def _ping(subject: _Subject) -> dict[str, Any]:
    standin = subject.standin
    config = {
        "content_type": "json",
        "insecure_ssl": "0",
        "url": f"{standin.hook_url}/",
        "secret": "********",
    }
    hook = {
        "type": "App",
        "id": 1,
        "name": "web",
        "active": True,
        "events": list(standin.events),
        "config": config,
        "updated_at": objects.LONG_AGO,
        "created_at": objects.LONG_AGO,
        "app_id": standin.app_id,
        "deliveries_url": f"{standin.url}/app/hook/deliveries",
    }
    return {"zen": "Anything added dilutes everything else.", "hook_id": 1, "hook": hook}
