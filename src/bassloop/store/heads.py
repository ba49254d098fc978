"""What is known of a commit as somebody's head: superseded at a place, approved by somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.store.model import Superseded

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
