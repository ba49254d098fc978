"""The tables, as numbered migrations.

Migrations only go forward: never edit a released one; add another that corrects it. Tables and columns keep
their original names: a `vertex` is a step everywhere else.
"""

from __future__ import annotations

import re

from sqlite_utils import Database, Migrations

from bassloop.store.first_schema import APPLICATION_ID, FIRST

__all__ = ["APPLICATION_ID", "MIGRATIONS", "TABLES", "TEMPORARY_TABLES", "migrations"]

_RETRIES = (
    "ALTER TABLE deliveries ADD COLUMN failures INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE deliveries ADD COLUMN postponed INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE deliveries ADD COLUMN not_before REAL",
    "ALTER TABLE check_runs ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE check_runs ADD COLUMN try_after REAL",
    "ALTER TABLE check_runs ADD COLUMN void INTEGER NOT NULL DEFAULT 0",
)


_APPROVALS = (
    """
    CREATE TABLE approvals (
        repository_id INTEGER NOT NULL,
        head_sha TEXT NOT NULL,
        user_id INTEGER NOT NULL,
        login TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (repository_id, head_sha)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX deliveries_held ON deliveries (order_key, seq) WHERE state = 'held'",
    "CREATE INDEX runs_of_delivery ON runs (delivery)",
)


_SUPERSEDED = (
    """
    CREATE TABLE superseded (
        repository_id INTEGER NOT NULL,
        head_sha TEXT NOT NULL,
        place TEXT NOT NULL,
        by_sha TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (repository_id, head_sha, place)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX deliveries_of_head ON deliveries (order_key, seq)",
)


_RUNNER_KINDS = (
    "ALTER TABLE runtimes ADD COLUMN kind TEXT NOT NULL DEFAULT 'other'",
    "ALTER TABLE runs ADD COLUMN runner_kind TEXT",
)


_VISITORS = (
    """
    CREATE TABLE repositories (
        id INTEGER PRIMARY KEY,
        full_name TEXT NOT NULL,
        installation_id INTEGER NOT NULL,
        public INTEGER NOT NULL,
        used_at REAL NOT NULL
    ) STRICT
    """,
    # A repository that isn't certainly public is private until GitHub says otherwise.
    """
    INSERT INTO repositories (id, full_name, installation_id, public, used_at)
        SELECT c.repository_id, c.repository, c.installation_id, min(r.public), max(r.created_at)
        FROM (SELECT max(id) AS id FROM check_runs GROUP BY repository_id) AS latest
        JOIN check_runs AS c ON c.id = latest.id
        JOIN runs AS r ON r.repository_id = c.repository_id
        GROUP BY c.repository_id, c.repository, c.installation_id
    """,
    """
    CREATE INDEX repositories_private ON repositories (used_at DESC, id) WHERE public = 0
    """,
    """
    CREATE TABLE sessions (
        digest TEXT PRIMARY KEY,
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        created_at REAL NOT NULL,
        expires_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX sessions_of_user ON sessions (user_id, created_at)",
    "CREATE INDEX runs_by_repository_id ON runs (repository_id, seq)",
)


# A test's name is stored once, since there are many results.
_TESTS = (
    """
    CREATE TABLE tests (
        id INTEGER PRIMARY KEY,
        repository_id INTEGER NOT NULL,
        check_name TEXT NOT NULL,
        name TEXT NOT NULL,
        UNIQUE (repository_id, check_name, name)
    ) STRICT
    """,
    """
    CREATE TABLE test_results (
        test INTEGER NOT NULL REFERENCES tests (id),
        run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
        outcome TEXT NOT NULL,
        seconds REAL,
        message TEXT,
        path TEXT,
        line INTEGER,
        UNIQUE (test, run)
    ) STRICT
    """,
    "CREATE INDEX test_results_of_run ON test_results (run, outcome)",
)

_BACKLOG = (
    "ALTER TABLE deliveries ADD COLUMN installation_id INTEGER",
    "ALTER TABLE deliveries ADD COLUMN evaluations INTEGER NOT NULL DEFAULT 0",
)


_LOGINS = (
    """
    CREATE TABLE logins (
        name TEXT PRIMARY KEY,
        user_id INTEGER NOT NULL,
        node_id TEXT NOT NULL,
        login TEXT NOT NULL,
        keys TEXT NOT NULL,
        asked_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX logins_by_age ON logins (asked_at)",
)


# Both texts are needed: SQLite folds the case of ASCII only.
_ERROR_LINES = (
    """
    CREATE TABLE error_lines (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
        text TEXT NOT NULL,
        folded TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX error_lines_of_run ON error_lines (run)",
)


_STATEMENTS = (
    """
    CREATE TABLE statements (
        run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        payload BLOB NOT NULL,
        signature BLOB NOT NULL,
        login TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        received_at REAL NOT NULL,
        listed INTEGER NOT NULL,
        problem TEXT
    ) STRICT, WITHOUT ROWID
    """,
)


_SPOT_CHECKS = (
    """
    CREATE TABLE spot_checks (
        repository_id INTEGER NOT NULL,
        head_sha TEXT NOT NULL,
        check_name TEXT NOT NULL,
        drawn INTEGER NOT NULL,
        PRIMARY KEY (repository_id, head_sha, check_name)
    ) STRICT, WITHOUT ROWID
    """,
)


# No foreign keys: entries stay when their run or repository is removed.
_JOURNAL = (
    """
    CREATE TABLE journal (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        number INTEGER NOT NULL,
        at REAL NOT NULL,
        repository_id INTEGER NOT NULL,
        repository TEXT NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        run TEXT NOT NULL,
        about TEXT NOT NULL,
        previous TEXT NOT NULL,
        hash TEXT NOT NULL,
        UNIQUE (repository_id, number)
    ) STRICT
    """,
)


# A row is written after its file, and stays after the file has expired.
_ARTIFACTS = (
    """
    CREATE TABLE artifacts (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        repository_id INTEGER NOT NULL,
        path TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        created_at REAL NOT NULL,
        expires_at REAL NOT NULL,
        kept INTEGER NOT NULL,
        UNIQUE (run_id, path)
    ) STRICT
    """,
    "CREATE INDEX artifacts_of_repository ON artifacts (repository_id) WHERE kept = 1",
    "CREATE INDEX artifacts_by_expiry ON artifacts (expires_at) WHERE kept = 1",
)


_SPENDING = (
    """
    CREATE TABLE spending (
        credential TEXT PRIMARY KEY,
        at REAL NOT NULL,
        spent TEXT NOT NULL,
        reserved INTEGER NOT NULL,
        closed_until REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)


# A row for each daemon that shares the database, and a lease, which only one of them can have.
_NODES = (
    """
    CREATE TABLE nodes (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        address TEXT NOT NULL,
        version TEXT NOT NULL,
        started_at REAL NOT NULL,
        alive_until REAL NOT NULL,
        draining INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE leases (
        name TEXT PRIMARY KEY,
        node TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        until REAL NOT NULL,
        identity TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    "INSERT INTO leases (name, node, epoch, until, identity) VALUES ('daemon', '', 0, 0, '')",
)


# Several nodes work at the same time. Each delivery, run and runtime belongs to the node with this id. It is empty
# for what no node has claimed, and in a database that only one daemon uses.
_CLAIMS = (
    "ALTER TABLE nodes ADD COLUMN identity TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE nodes ADD COLUMN ended_at REAL",
    "ALTER TABLE nodes ADD COLUMN heir TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE deliveries ADD COLUMN node TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runs ADD COLUMN node TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE runtimes ADD COLUMN node TEXT NOT NULL DEFAULT ''",
    """
    CREATE TABLE requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        node TEXT NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX requests_of_node ON requests (node, id)",
)


# A filter is written once, when its log is complete. A log without one is read in each search.
_LOG_FILTERS = (
    "ALTER TABLE vertexes ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0",
    """
    CREATE INDEX vertexes_to_index ON vertexes (id)
        WHERE indexed = 0 AND log_state IN ('closed', 'cut')
    """,
    """
    CREATE TABLE log_filters (
        vertex INTEGER PRIMARY KEY REFERENCES vertexes (id) ON DELETE CASCADE,
        filter BLOB NOT NULL
    ) STRICT
    """,
)
# A run that has a place counts towards the limits on its user's and its repository's runs. `bytes` is the level of a
# leaky bucket at the time `at`.
_USAGE = (
    "ALTER TABLE runs ADD COLUMN has_place INTEGER NOT NULL DEFAULT 0",
    """
    CREATE TABLE log_usage (
        kind TEXT NOT NULL,
        id INTEGER NOT NULL,
        bytes REAL NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID
    """,
)
# All nodes work now, so there is no lease for the only one that does. An older version ends without that lease.
_NO_STANDBY = ("DELETE FROM leases",)

# One purpose for each entry of `spent`.
_SPENT_PURPOSES = ("ALTER TABLE spending ADD COLUMN purposes TEXT NOT NULL DEFAULT '[]'",)

# When the key was added to its owner's account.
_LISTED_SINCE = ("ALTER TABLE statements ADD COLUMN listed_since REAL",)


MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("0001_first", FIRST),
    ("0002_patience", _RETRIES),
    ("0003_approvals", _APPROVALS),
    ("0004_superseded", _SUPERSEDED),
    ("0005_kinds", _RUNNER_KINDS),
    ("0006_visitors", _VISITORS),
    ("0007_tests", _TESTS),
    ("0008_logins", _LOGINS),
    ("0009_error_lines", _ERROR_LINES),
    ("0010_statements", _STATEMENTS),
    ("0011_backlog", _BACKLOG),
    ("0012_spot_checks", _SPOT_CHECKS),
    ("0013_journal", _JOURNAL),
    ("0014_artifacts", _ARTIFACTS),
    ("0015_spending", _SPENDING),
    ("0016_nodes", _NODES),
    ("0017_claims", _CLAIMS),
    ("0018_log_filters", _LOG_FILTERS),
    ("0019_no_standby", _NO_STANDBY),
    ("0020_spent_purposes", _SPENT_PURPOSES),
    ("0021_usage", _USAGE),
    ("0022_listed_since", _LISTED_SINCE),
)
"""All migrations, oldest first: their names, and their statements in SQLite's dialect.

Another engine translates types and table options, and leaves out PRAGMAs.
"""


TABLES = tuple(
    table
    for _, statements in MIGRATIONS
    for table in re.findall(r"^\s*CREATE TABLE (\w+)", "\n".join(statements), re.MULTILINE)
)
"""All tables. Each comes after those that it refers to."""

TEMPORARY_TABLES = frozenset({"runtimes", "services", "nodes", "leases", "requests"})
"""Tables about running processes and their connections, which aren't copied to another database."""


def migrations() -> Migrations:
    """Return all migrations for SQLite. Each is applied and recorded in one transaction."""
    numbered = Migrations("bassloop")
    for name, statements in MIGRATIONS:

        @numbered(name=name)
        def migration(db: Database, statements: tuple[str, ...] = statements) -> None:
            for statement in statements:
                db.execute(statement)

    return numbered
