BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'bassloop','0001_first','2026-11-28 10:05:01.518013+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'bassloop','0002_patience','2026-11-28 10:05:01.520326+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'bassloop','0003_approvals','2026-11-28 10:05:01.520644+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'bassloop','0004_superseded','2026-11-28 10:05:01.520937+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'bassloop','0005_kinds','2026-11-28 10:05:01.521498+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'bassloop','0006_visitors','2026-11-28 10:05:01.521854+00:00');
INSERT INTO "_sqlite_migrations" VALUES(7,'bassloop','0007_tests','2026-11-28 10:05:01.522089+00:00');
INSERT INTO "_sqlite_migrations" VALUES(8,'bassloop','0008_logins','2026-11-28 10:05:01.522325+00:00');
INSERT INTO "_sqlite_migrations" VALUES(9,'bassloop','0009_error_lines','2026-11-28 10:05:01.522557+00:00');
INSERT INTO "_sqlite_migrations" VALUES(10,'bassloop','0010_statements','2026-11-28 10:05:01.522704+00:00');
INSERT INTO "_sqlite_migrations" VALUES(11,'bassloop','0011_backlog','2026-11-28 10:05:01.523512+00:00');
INSERT INTO "_sqlite_migrations" VALUES(12,'bassloop','0012_spot_checks','2026-11-28 10:05:01.523855+00:00');
INSERT INTO "_sqlite_migrations" VALUES(13,'bassloop','0013_journal','2026-11-28 10:05:01.524750+00:00');
INSERT INTO "_sqlite_migrations" VALUES(14,'bassloop','0014_artifacts','2026-11-28 10:05:01.525032+00:00');
INSERT INTO "_sqlite_migrations" VALUES(15,'bassloop','0015_spending','2026-11-28 10:05:01.525237+00:00');
INSERT INTO "_sqlite_migrations" VALUES(16,'bassloop','0016_nodes','2026-11-28 10:05:01.525464+00:00');
INSERT INTO "_sqlite_migrations" VALUES(17,'bassloop','0017_claims','2026-11-28 10:05:01.527079+00:00');
INSERT INTO "_sqlite_migrations" VALUES(18,'bassloop','0018_log_filters','2026-11-28 10:05:01.527555+00:00');
INSERT INTO "_sqlite_migrations" VALUES(19,'bassloop','0019_no_standby','2026-11-28 10:05:01.527656+00:00');
INSERT INTO "_sqlite_migrations" VALUES(20,'bassloop','0020_spent_purposes','2026-11-28 10:05:01.539765+00:00');
INSERT INTO "_sqlite_migrations" VALUES(21,'bassloop','0021_usage','2026-11-28 10:05:01.540574+00:00');
INSERT INTO "_sqlite_migrations" VALUES(22,'bassloop','0022_listed_since','2026-11-28 10:05:01.541047+00:00');
CREATE TABLE approvals (
        repository_id INTEGER NOT NULL,
        head_sha TEXT NOT NULL,
        user_id INTEGER NOT NULL,
        login TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (repository_id, head_sha)
    ) STRICT, WITHOUT ROWID
    ;
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
    ;
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
        delivery TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0, try_after REAL, void INTEGER NOT NULL DEFAULT 0,
        UNIQUE (repository_id, head_sha, name, generation)
    ) STRICT
    ;
INSERT INTO "check_runs" VALUES(1,1,'ada/engine',5,'c0ffee','test',1,'the-run',99,'concluded','success','done-one',0,NULL,0);
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
    , failures INTEGER NOT NULL DEFAULT 0, postponed INTEGER NOT NULL DEFAULT 0, not_before REAL, installation_id INTEGER, evaluations INTEGER NOT NULL DEFAULT 0, node TEXT NOT NULL DEFAULT '') STRICT
    ;
INSERT INTO "deliveries" VALUES(1,'done-one','push',NULL,1.0,'done',1,NULL,NULL,NULL,NULL,NULL,X'7B7D',0,0,NULL,NULL,0,'');
INSERT INTO "deliveries" VALUES(2,'waiting','push',NULL,2.0,'received',0,NULL,NULL,NULL,NULL,NULL,X'7B7D',0,0,NULL,NULL,0,'');
CREATE TABLE error_lines (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs (seq) ON DELETE CASCADE,
        text TEXT NOT NULL,
        folded TEXT NOT NULL
    ) STRICT
    ;
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
    ;
CREATE TABLE leases (
        name TEXT PRIMARY KEY,
        node TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        until REAL NOT NULL,
        identity TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    ;
CREATE TABLE log_filters (
        vertex INTEGER PRIMARY KEY REFERENCES vertexes (id) ON DELETE CASCADE,
        filter BLOB NOT NULL
    ) STRICT
    ;
CREATE TABLE log_usage (
        kind TEXT NOT NULL,
        id INTEGER NOT NULL,
        bytes REAL NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID
    ;
CREATE TABLE logins (
        name TEXT PRIMARY KEY,
        user_id INTEGER NOT NULL,
        node_id TEXT NOT NULL,
        login TEXT NOT NULL,
        keys TEXT NOT NULL,
        asked_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    ;
CREATE TABLE nodes (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        address TEXT NOT NULL,
        version TEXT NOT NULL,
        started_at REAL NOT NULL,
        alive_until REAL NOT NULL,
        draining INTEGER NOT NULL
    , identity TEXT NOT NULL DEFAULT '', ended_at REAL, heir TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID
    ;
CREATE TABLE repositories (
        id INTEGER PRIMARY KEY,
        full_name TEXT NOT NULL,
        installation_id INTEGER NOT NULL,
        public INTEGER NOT NULL,
        used_at REAL NOT NULL
    ) STRICT
    ;
CREATE TABLE requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        node TEXT NOT NULL,
        kind TEXT NOT NULL,
        body TEXT NOT NULL
    ) STRICT
    ;
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
    , runner_kind TEXT, node TEXT NOT NULL DEFAULT '', has_place INTEGER NOT NULL DEFAULT 0) STRICT
    ;
INSERT INTO "runs" VALUES(1,'the-run','THUNK',7,'ada',1,'ada/engine',1,'push','done-one','c0ffee','main',NULL,'test','succeeded',1.0,NULL,2.0,NULL,NULL,NULL,NULL,'go test',0,NULL,'',0);
CREATE TABLE runtimes (
        id TEXT PRIMARY KEY,
        user_id INTEGER NOT NULL REFERENCES users (id),
        os TEXT NOT NULL,
        arch TEXT NOT NULL,
        priority INTEGER NOT NULL,
        connected_at REAL NOT NULL,
        session TEXT NOT NULL
    , kind TEXT NOT NULL DEFAULT 'other', node TEXT NOT NULL DEFAULT '') STRICT
    ;
CREATE TABLE services (
        runtime_id TEXT NOT NULL REFERENCES runtimes (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        address TEXT NOT NULL,
        PRIMARY KEY (runtime_id, name)
    ) STRICT, WITHOUT ROWID
    ;
CREATE TABLE sessions (
        digest TEXT PRIMARY KEY,
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        created_at REAL NOT NULL,
        expires_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID
    ;
CREATE TABLE spending (
        credential TEXT PRIMARY KEY,
        at REAL NOT NULL,
        spent TEXT NOT NULL,
        reserved INTEGER NOT NULL,
        closed_until REAL NOT NULL
    , purposes TEXT NOT NULL DEFAULT '[]') STRICT, WITHOUT ROWID
    ;
CREATE TABLE spot_checks (
        repository_id INTEGER NOT NULL,
        head_sha TEXT NOT NULL,
        check_name TEXT NOT NULL,
        drawn INTEGER NOT NULL,
        PRIMARY KEY (repository_id, head_sha, check_name)
    ) STRICT, WITHOUT ROWID
    ;
CREATE TABLE statements (
        run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        payload BLOB NOT NULL,
        signature BLOB NOT NULL,
        login TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        received_at REAL NOT NULL,
        listed INTEGER NOT NULL,
        problem TEXT
    , listed_since REAL) STRICT, WITHOUT ROWID
    ;
CREATE TABLE superseded (
        repository_id INTEGER NOT NULL,
        head_sha TEXT NOT NULL,
        place TEXT NOT NULL,
        by_sha TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (repository_id, head_sha, place)
    ) STRICT, WITHOUT ROWID
    ;
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
    ;
CREATE TABLE tests (
        id INTEGER PRIMARY KEY,
        repository_id INTEGER NOT NULL,
        check_name TEXT NOT NULL,
        name TEXT NOT NULL,
        UNIQUE (repository_id, check_name, name)
    ) STRICT
    ;
CREATE TABLE thunks (
        digest TEXT PRIMARY KEY,
        sha256 TEXT NOT NULL,
        json TEXT NOT NULL,
        proto BLOB NOT NULL,
        cmdline TEXT NOT NULL,
        created_at REAL NOT NULL
    ) STRICT
    ;
INSERT INTO "thunks" VALUES('THUNK','abab','{}',X'01','.go test',1.0);
CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        node_id TEXT NOT NULL,
        login TEXT NOT NULL
    ) STRICT
    ;
INSERT INTO "users" VALUES(7,'U_7','ada');
CREATE TABLE vertex_edges (
        vertex INTEGER NOT NULL REFERENCES vertexes (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        input_digest TEXT NOT NULL,
        PRIMARY KEY (vertex, position)
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "vertex_edges" VALUES(1,0,'w');
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
        lines INTEGER NOT NULL DEFAULT 0, indexed INTEGER NOT NULL DEFAULT 0,
        UNIQUE (run_id, digest)
    ) STRICT
    ;
INSERT INTO "vertexes" VALUES(1,'the-run','v','go test',NULL,NULL,0,NULL,0,0,0,1,'closed',0,0,0);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX deliveries_unfinished ON deliveries (seq)
        WHERE state IN ('received', 'handling')
    ;
CREATE INDEX runs_of_thunk ON runs (thunk_digest, seq);
CREATE INDEX runs_of_repository ON runs (repository COLLATE NOCASE, seq);
CREATE INDEX runs_of_head ON runs (head_sha, seq);
CREATE INDEX runs_of_login ON runs (login COLLATE NOCASE, seq);
CREATE INDEX runs_unfinished ON runs (seq) WHERE state IN ('queued', 'running');
CREATE INDEX check_runs_unfinished ON check_runs (id) WHERE state != 'concluded';
CREATE INDEX check_runs_by_github_id ON check_runs (github_id)
        WHERE github_id IS NOT NULL
    ;
CREATE INDEX vertexes_by_version ON vertexes (run_id, version);
CREATE INDEX vertexes_with_open_log ON vertexes (id) WHERE log_state = 'open';
CREATE INDEX runtimes_of_session ON runtimes (session);
CREATE INDEX deliveries_held ON deliveries (order_key, seq) WHERE state = 'held';
CREATE INDEX runs_of_delivery ON runs (delivery);
CREATE INDEX deliveries_of_head ON deliveries (order_key, seq);
CREATE INDEX repositories_private ON repositories (used_at DESC, id) WHERE public = 0
    ;
CREATE INDEX sessions_of_user ON sessions (user_id, created_at);
CREATE INDEX runs_by_repository_id ON runs (repository_id, seq);
CREATE INDEX test_results_of_run ON test_results (run, outcome);
CREATE INDEX logins_by_age ON logins (asked_at);
CREATE INDEX error_lines_of_run ON error_lines (run);
CREATE INDEX artifacts_of_repository ON artifacts (repository_id) WHERE kept = 1;
CREATE INDEX artifacts_by_expiry ON artifacts (expires_at) WHERE kept = 1;
CREATE INDEX requests_of_node ON requests (node, id);
CREATE INDEX vertexes_to_index ON vertexes (id)
        WHERE indexed = 0 AND log_state IN ('closed', 'cut')
    ;
COMMIT;
PRAGMA application_id = 1113682803;
