"""The first migration, which creates the original tables."""

from __future__ import annotations

APPLICATION_ID = 0x42617373
"""The `PRAGMA application_id` of bassloop's databases: "Bass" in ASCII."""

FIRST = (
    """
    CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        node_id TEXT NOT NULL,
        login TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE deliveries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        guid TEXT NOT NULL UNIQUE,
        event TEXT NOT NULL,
        action TEXT,
        received_at REAL NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT,
        repository TEXT,
        head_sha TEXT,
        sender TEXT,
        order_key TEXT,
        body BLOB NOT NULL
    ) STRICT
    """,
    """
    CREATE INDEX deliveries_unfinished ON deliveries (seq)
        WHERE state IN ('received', 'handling')
    """,
    """
    CREATE TABLE thunks (
        digest TEXT PRIMARY KEY,
        sha256 TEXT NOT NULL,
        json TEXT NOT NULL,
        proto BLOB NOT NULL,
        cmdline TEXT NOT NULL,
        created_at REAL NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE runs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        thunk_digest TEXT REFERENCES thunks (digest),
        user_id INTEGER NOT NULL REFERENCES users (id),
        login TEXT NOT NULL,
        repository_id INTEGER NOT NULL,
        repository TEXT NOT NULL,
        public INTEGER NOT NULL,
        event TEXT NOT NULL,
        delivery TEXT NOT NULL,
        head_sha TEXT NOT NULL,
        head_branch TEXT,
        pull_request INTEGER,
        check_name TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at REAL NOT NULL,
        started_at REAL,
        ended_at REAL,
        message TEXT,
        runtime_id TEXT,
        runner_login TEXT,
        platform TEXT,
        cmdline TEXT NOT NULL,
        version INTEGER NOT NULL DEFAULT 0
    ) STRICT
    """,
    "CREATE INDEX runs_of_thunk ON runs (thunk_digest, seq)",
    "CREATE INDEX runs_of_repository ON runs (repository COLLATE NOCASE, seq)",
    "CREATE INDEX runs_of_head ON runs (head_sha, seq)",
    "CREATE INDEX runs_of_login ON runs (login COLLATE NOCASE, seq)",
    "CREATE INDEX runs_unfinished ON runs (seq) WHERE state IN ('queued', 'running')",
    """
    CREATE TABLE check_runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        repository_id INTEGER NOT NULL,
        repository TEXT NOT NULL,
        installation_id INTEGER NOT NULL,
        head_sha TEXT NOT NULL,
        name TEXT NOT NULL,
        generation INTEGER NOT NULL,
        run_id TEXT NOT NULL UNIQUE REFERENCES runs (id) ON DELETE CASCADE,
        github_id INTEGER,
        state TEXT NOT NULL,
        conclusion TEXT,
        delivery TEXT NOT NULL,
        UNIQUE (repository_id, head_sha, name, generation)
    ) STRICT
    """,
    "CREATE INDEX check_runs_unfinished ON check_runs (id) WHERE state != 'concluded'",
    """
    CREATE INDEX check_runs_by_github_id ON check_runs (github_id)
        WHERE github_id IS NOT NULL
    """,
    """
    CREATE TABLE vertexes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        digest TEXT NOT NULL,
        name TEXT NOT NULL,
        started_at REAL,
        completed_at REAL,
        cached INTEGER NOT NULL,
        error TEXT,
        cancelled INTEGER NOT NULL,
        internal INTEGER NOT NULL,
        position INTEGER NOT NULL,
        version INTEGER NOT NULL,
        log_state TEXT NOT NULL DEFAULT 'none',
        raw_bytes INTEGER NOT NULL DEFAULT 0,
        lines INTEGER NOT NULL DEFAULT 0,
        UNIQUE (run_id, digest)
    ) STRICT
    """,
    "CREATE INDEX vertexes_by_version ON vertexes (run_id, version)",
    "CREATE INDEX vertexes_with_open_log ON vertexes (id) WHERE log_state = 'open'",
    """
    CREATE TABLE vertex_edges (
        vertex INTEGER NOT NULL REFERENCES vertexes (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        input_digest TEXT NOT NULL,
        PRIMARY KEY (vertex, position)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE runtimes (
        id TEXT PRIMARY KEY,
        user_id INTEGER NOT NULL REFERENCES users (id),
        os TEXT NOT NULL,
        arch TEXT NOT NULL,
        priority INTEGER NOT NULL,
        connected_at REAL NOT NULL,
        session TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX runtimes_of_session ON runtimes (session)",
    """
    CREATE TABLE services (
        runtime_id TEXT NOT NULL REFERENCES runtimes (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        address TEXT NOT NULL,
        PRIMARY KEY (runtime_id, name)
    ) STRICT, WITHOUT ROWID
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
)
