"""Databases as every earlier version left them, as SQL: a file for each migration, with a few rows.

`python -m tests.store.schemas` writes those that are missing. One that was released is never edited.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from bassloop.store.schema import APPLICATION_ID, migrations

FOLDER = Path(__file__).with_name("sql")

_ROWS = (
    "INSERT INTO users (id, node_id, login) VALUES (7, 'U_7', 'ada')",
    "INSERT INTO deliveries (guid, event, received_at, state, attempts, body) VALUES "
    "('done-one', 'push', 1.0, 'done', 1, x'7b7d'), ('waiting', 'push', 2.0, 'received', 0, x'7b7d')",
    "INSERT INTO thunks (digest, sha256, json, proto, cmdline, created_at) VALUES "
    "('THUNK', 'abab', '{}', x'01', '.go test', 1.0)",
    "INSERT INTO runs (id, thunk_digest, user_id, login, repository_id, repository, public, event, "
    "delivery, head_sha, head_branch, check_name, state, created_at, ended_at, cmdline) VALUES "
    "('the-run', 'THUNK', 7, 'ada', 1, 'ada/engine', 1, 'push', 'done-one', 'c0ffee', 'main', 'test', "
    "'succeeded', 1.0, 2.0, 'go test')",
    "INSERT INTO check_runs (repository_id, repository, installation_id, head_sha, name, generation, "
    "run_id, github_id, state, conclusion, delivery) VALUES "
    "(1, 'ada/engine', 5, 'c0ffee', 'test', 1, 'the-run', 99, 'concluded', 'success', 'done-one')",
    "INSERT INTO vertexes (run_id, digest, name, cached, cancelled, internal, position, version, "
    "log_state, raw_bytes, lines) VALUES ('the-run', 'v', 'go test', 0, 0, 0, 0, 1, 'closed', 0, 0)",
    "INSERT INTO vertex_edges (vertex, position, input_digest) VALUES (1, 0, 'w')",
)


def names() -> list[str]:
    """The migrations' names, oldest first."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return [migration.name for migration in migrations().pending(Database(connection))]


def dump(name: str) -> str:
    """A database after the migration of this name, with a few rows."""
    following = dict(zip(names(), [*names()[1:], None], strict=True))[name]
    with closing(sqlite3.connect(":memory:")) as connection:
        migrations().apply(Database(connection), stop_before=following)
        for statement in _ROWS:
            connection.execute(statement)
        connection.commit()
        lines = [*connection.iterdump(), f"PRAGMA application_id = {APPLICATION_ID};"]
    return "\n".join(line for line in lines if "sqlite_sequence" not in line) + "\n"


def load(name: str, path: Path) -> None:
    """Make the database of a file."""
    assert (FOLDER / f"{name}.sql").exists(), "python -m tests.store.schemas writes it"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((FOLDER / f"{name}.sql").read_text())


if __name__ == "__main__":
    for each in names():
        file = FOLDER / f"{each}.sql"
        if not file.exists():
            file.write_text(dump(each))
