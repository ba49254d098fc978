"""Fixtures for all tests."""

from __future__ import annotations

import gc
import logging
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

from bassloop.evaluator.evaluators import Evaluators
from tests.databases import run_postgresql
from tests.fork_servers import end_shared_servers, run_shared_server
from tests.forked_programs import end_forking_program
from tests.repositories import make_repository
from tests.sqlite_databases import copy_sqlite

__all__ = ["make_repository"]

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from tests.databases import PostgreSQLServer

# How long an example takes says more about the machine than about the code.
settings.register_profile("tests", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2000)
# For another Python: what differs there are stacks and limits, not which examples fail.
settings.register_profile("brief", deadline=None, max_examples=15)
settings.load_profile("tests")

structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, structlog.processors.KeyValueRenderer()]
)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """A PostgreSQL server, started for the first test that asks for it."""
    with run_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine of a test's databases."""
    return request.param


@pytest.fixture
def location(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    """The place of a database that has its tables, and nothing in them: a file, or an address of a server."""
    if engine == "sqlite":
        yield copy_sqlite(tmp_path / "loop.db")
    else:
        assert request.node.get_closest_marker("postgresql"), "it runs in another session"
        server = request.getfixturevalue("postgresql")
        url = server.create()
        yield url
        server.drop(url)


@pytest.fixture
def elsewhere(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    """The place of another database of the same engine, which isn't made yet, or is empty."""
    if engine == "sqlite":
        yield tmp_path / "new" / "loop.db"
    else:
        server = request.getfixturevalue("postgresql")
        url = server.create(empty=True)
        yield url
        server.drop(url)


@pytest.fixture
def shared_fork_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let daemons and trials in this process use fork servers that earlier tests have left."""
    evaluators = partial(Evaluators, run_server=run_shared_server)
    monkeypatch.setattr("bassloop.daemon.wiring.Evaluators", evaluators)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Undo what a command that runs in this process does to logging: it would filter the next test's lines."""
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), root.handlers[:], root.level
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave out of garbage collection what stays to the end: each full pass would look at all of it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that name PostgreSQL as their engine, or ask for its server."""
    for item in items:
        if isinstance(item, pytest.Function):
            engine = item.callspec.params.get("engine") if hasattr(item, "callspec") else None
            if engine == "postgresql" or "postgresql" in item.fixturenames:
                item.add_marker("postgresql")


def pytest_sessionfinish() -> None:
    end_shared_servers()
    end_forking_program()


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "postgresql: needs a PostgreSQL server (nox -s postgresql)",
        "openssh: needs the stock OpenSSH client (nox -s openssh)",
        "audit: needs ssh-audit (nox -s audit)",
        "browser: needs Chromium and Playwright (nox -s browser)",
        "containers: needs Podman or Docker, and busybox-static (nox -s containers)",
        "published: needs GitHub's published examples (nox -s published)",
        "systemd: needs systemd-analyze and strace (nox -s systemd)",
        "booted: boots systemd in namespaces, as root (nox -s booted)",
        "mounts: needs a file system of its own (nox -s disk)",
        "image: builds the container with Podman (nox -s image)",
        "chaos: loses nodes of a cluster behind HAProxy (nox -s chaos)",
        "pgbouncer: needs PgBouncer (nox -s pgbouncer)",
        "slow: takes minutes (nox -s slow)",
        "outage: plays an outage out with GitHub's real limits on (nox -s outage)",
        "attacks: measures a daemon under attack (nox -s attacks)",
    ):
        config.addinivalue_line("markers", marker)
    # A shell's background job ignores these, and so would every program that a test starts and sends them.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
