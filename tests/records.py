"""Records of the store for tests that need one without a store."""

from __future__ import annotations

from bassloop.store import Run, Step


def make_run(**changes: object) -> Run:
    fields: dict[str, object] = {
        "id": "r",
        "thunk_digest": "D",
        "user_id": 1,
        "login": "octocat",
        "repository_id": 2,
        "repository": "octocat/hello",
        "public": True,
        "event": "push",
        "delivery": "g",
        "head_sha": "0" * 40,
        "head_branch": "main",
        "pull_request": None,
        "check_name": "test",
        "state": "succeeded",
        "created_at": 100.0,
        "started_at": 100.0,
        "ended_at": 165.0,
        "message": None,
        "runtime_id": "t",
        "runner_login": "octocat",
        "platform": "linux/amd64",
        "cmdline": "sh test.sh",
    }
    return Run(**{**fields, **changes})  # type: ignore[arg-type]


def make_step(row: int, name: str, **changes: object) -> Step:
    fields: dict[str, object] = {
        "row": row,
        "run_id": "r",
        "digest": name,
        "name": name,
        "started_at": 100.0,
        "completed_at": 101.0,
        "cached": False,
        "error": None,
        "cancelled": False,
        "internal": False,
        "inputs": (),
        "position": row,
        "raw_bytes": 0,
        "lines": 0,
        "version": 1,
    }
    return Step(**{**fields, **changes})  # type: ignore[arg-type]
