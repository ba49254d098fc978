"""What is known of a commit as somebody's head: superseded at a place, approved by somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.store.deliveries import released
from bassloop.store.model import Approval, Delivery, Superseded
from bassloop.store.runs import void_unanswered

if TYPE_CHECKING:
    import sqlite3


def supersede(
    connection: sqlite3.Connection,
    repository_id: int,
    head_sha: str,
    place: str,
    by_sha: str,
    at: float,
) -> None:
    connection.execute(
        "INSERT INTO superseded (repository_id, head_sha, place, by_sha, at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET by_sha = excluded.by_sha, at = excluded.at",
        (repository_id, head_sha, place, by_sha, at),
    )


def superseded(
    connection: sqlite3.Connection, repository_id: int, head_sha: str, place: str
) -> Superseded | None:
    row = connection.execute(
        "SELECT by_sha, at FROM superseded WHERE repository_id = ? AND head_sha = ? AND place = ?",
        (repository_id, head_sha, place),
    ).fetchone()
    return None if row is None else Superseded(**row)


def approve(
    connection: sqlite3.Connection, repository_id: int, head_sha: str, approval: Approval
) -> list[Delivery]:
    """See `HeadOperations.approve`."""
    connection.execute(
        "INSERT INTO approvals (repository_id, head_sha, user_id, login, at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (repository_id, head_sha, approval.user_id, approval.login, approval.at),
    )
    waited = void_unanswered(connection, repository_id, head_sha)
    return released(connection, f"{repository_id}:{head_sha}", waited)


def approval(connection: sqlite3.Connection, repository_id: int, head_sha: str) -> Approval | None:
    row = connection.execute(
        "SELECT user_id, login, at FROM approvals WHERE repository_id = ? AND head_sha = ?",
        (repository_id, head_sha),
    ).fetchone()
    return None if row is None else Approval(**row)
