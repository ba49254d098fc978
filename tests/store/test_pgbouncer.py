"""The daemon's reads and writes go through PgBouncer, which gives each transaction another connection."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
import trio
from psycopg.conninfo import conninfo_to_dict

from bassloop.store import Topic, open_store
from tests.store.made import intend, run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.pgbouncer, pytest.mark.postgresql]


@pytest.fixture(params=["postgresql"])  # a parameter, so that these tests run in its session
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def run_pgbouncer(url: str, folder: Path) -> Iterator[str]:
    """Run PgBouncer before a database, with two connections to it; yields the address of the database there."""
    server = conninfo_to_dict(url)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    (folder / "users.txt").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"""
        [databases]
        loop = host={server["host"]} dbname={server["dbname"]} user=postgres
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 2
        min_pool_size = 2
        server_round_robin = 1
        """
    )
    command = ["pgbouncer", str(folder / "pgbouncer.ini")]
    if os.getuid() == 0:  # it refuses to be root, and has to find the server's socket
        command[1:1] = ["--user", Path(server["host"]).owner()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as bouncer:
        try:
            assert bouncer.stderr is not None
            said = ""
            while "process up" not in said:
                said = bouncer.stderr.readline()
                assert said, "PgBouncer has ended"
            yield f"postgresql://postgres@127.0.0.1:{port}/loop"
        finally:
            bouncer.terminate()


async def test_reads_writes_and_notifications_work_through_pgbouncer(
    location: str, tmp_path: Path
) -> None:
    with run_pgbouncer(location, tmp_path) as pooled:
        async with open_store(location, tmp_path / "blobs", pool=pooled) as store:
            heard = trio.Event()
            store.notifications.subscribe(Topic.PERMISSIONS, lambda _: heard.set())
            made = [run(check_name=f"check {number}") for number in range(20)]
            async with trio.open_nursery() as nursery:
                for each in made:
                    nursery.start_soon(intend, store, each)
            found = {}

            async def read(run_id: str) -> None:
                found[run_id] = await store.runs.get(run_id)

            async with trio.open_nursery() as nursery:
                for each in made:
                    nursery.start_soon(read, each.id)
                    nursery.start_soon(store.runs.start, each.id, "rt", "ada", "linux/amd64", 1.0)
            assert None not in found.values()
            assert await store.nodes.all()
            await store.notifications.publish(Topic.PERMISSIONS, "1:")
            with trio.fail_after(120):
                await heard.wait()


async def test_a_pooler_before_the_database_is_detected_and_logged(
    location: str, tmp_path: Path
) -> None:
    """Notifications don't pass it, so what waits for them looks for itself, and the log says why."""
    with run_pgbouncer(location, tmp_path) as pooled, structlog.testing.capture_logs() as logs:
        async with open_store(pooled, tmp_path / "blobs"):
            pass
    [late] = [each for each in logs if each["event"] == "notifications of other nodes are late"]
    assert "is a pooler, such as PgBouncer in transaction mode, before it?" in late["why"]
