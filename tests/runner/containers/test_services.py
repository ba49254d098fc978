"""Services, their addresses and certificates, and secrets."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.runner.call_context import CallContext
from bassloop.runner.container.container_driver import ContainerDriver, ContainerOptions
from bassloop.runner.errors import DriverError
from bassloop.runner.secrets import OwnerSecrets, SecretStore
from bassloop.wire import bass_pb2 as pb

from ..made import Recorder, after, file, in_memory, mount, string
from .conftest import Bench, busybox_tree, forget
from .test_end import running
from .test_run import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bassloop.runner.container.container_engine import ContainerEngine

pytestmark = pytest.mark.containers


def server(index: str, port: int = 8000) -> pb.Thunk:
    return run(
        f"exec httpd -f -p {port}",
        mounts=[mount(in_memory("index.html", index.encode()), file("index.html"))],
        ports=[pb.ThunkPort(name="http", port=port)],
    )


def address(thunk: pb.Thunk, form: str = "http://$host:${port}/") -> pb.Value:
    return pb.Value(
        thunk_addr=pb.ThunkAddr(thunk=thunk.SerializeToString(), port="http", format=form)
    )


def fetch(*services: pb.Thunk) -> pb.Thunk:
    script = 'for each; do wget -q -O- "$each"; done'
    return run(script, string("sh"), *(address(each) for each in services))


async def test_a_service_is_started_for_its_users_and_stopped_afterwards(bench: Bench) -> None:
    service = server("hello, world!")
    assert await bench.said(fetch(service)) == "hello, world!"
    assert await bench.containers() == []
    assert bench.seen.named("httpd").completed.seconds
    assert not bench.seen.named("httpd").error


async def test_a_thunk_with_ports_may_be_an_image_with_an_entrypoint(bench: Bench) -> None:
    made = run("echo from a file > index.html")
    service = pb.Thunk(
        image=after(made),
        entrypoint=["httpd", "-f", "-p", "8000"],
        clear_default_args=True,
        ports=[pb.ThunkPort(name="http", port=8000)],
    )
    assert await bench.said(fetch(service)) == "from a file\n"


async def test_two_services_can_be_used_together_and_one_may_need_the_other(bench: Bench) -> None:
    one, two = server("one", 8001), server("two", 8002)
    assert await bench.said(fetch(one, two)) == "onetwo"
    relay = run(
        'wget -q -O index.html "$0" && exec httpd -f -p 8003',
        address(one),
        ports=[pb.ThunkPort(name="http", port=8003)],
    )
    assert await bench.said(fetch(relay)) == "one"


async def test_the_reason_why_a_service_can_not_be_reached_is_reported(bench: Bench) -> None:
    ends = run("echo no >&2; exit 4", ports=[pb.ThunkPort(name="http", port=8000)])
    with pytest.raises(DriverError) as failed:
        await bench.said(fetch(ends))
    assert "ended before it listened on port 8000 (http): exit status 4" in str(failed.value)
    assert str(failed.value).endswith("Its log ends with:\nno")
    assert bench.seen.named("exit 4").id in bench.seen.named("wget").inputs
    with pytest.raises(DriverError, match="the port 8000, which"):
        await bench.said(fetch(server("one"), server("two")))
    with pytest.raises(DriverError, match="has no port 'http'"):
        await bench.said(fetch(run("true")))
    assert await bench.containers() == []


async def test_a_cancelled_service_is_removed(bench: Bench) -> None:
    thunk = run('echo "$0"; sleep 600', address(server("x")))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run, thunk)
        with trio.fail_after(120):
            await bench.seen.printed.wait()
        assert len(await bench.containers()) == 2
        nursery.cancel_scope.cancel()
        began = trio.current_time()
    assert trio.current_time() - began < 120  # and not as long as its `sleep`
    assert await bench.containers() == []


OPENSSL = Path("/usr/bin/openssl")


@pytest.fixture
async def with_openssl(bench: Bench) -> AsyncIterator[pb.ThunkImage]:
    """An image with this machine's openssl in it. It is gone before the bench looks at what is left."""
    engine = bench.driver.settings.engine
    assert OPENSSL.exists(), "Debian: apt-get install openssl"
    listed = subprocess.run(["ldd", OPENSSL], capture_output=True, text=True, check=True).stdout  # noqa: ASYNC221
    needed = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    tree = io.BytesIO(busybox_tree())
    with tarfile.open(fileobj=tree, mode="a") as tar:
        for path in (str(OPENSSL), *needed):
            tar.add(Path(path).resolve(), path.lstrip("/"))
    name = "localhost/openssl:bassloop-tests"
    await engine.ask("import", "-", name, stdin=tree.getvalue())
    yield pb.ThunkImage(ref=pb.ImageRef(repository="localhost/openssl", tag="bassloop-tests"))
    await engine.ask("rmi", "--force", name)


async def test_a_service_has_a_certificate_that_its_users_trust(
    bench: Bench, with_openssl: pb.ThunkImage
) -> None:
    service = run(
        "exec openssl s_server -accept 8443 -cert /tls.crt -key sub/tls.key -WWW -quiet",
        image=with_openssl,
        mounts=[mount(in_memory("page", b"over TLS"), file("page"))],
        ports=[pb.ThunkPort(name="http", port=8443)],
        tls=pb.ThunkTLS(cert=pb.FilePath(path="/tls.crt"), key=pb.FilePath(path="sub/tls.key")),
    )
    ask = (
        "printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error "
        '-verify_hostname localhost -connect "$0" 2>/dev/null'
    )
    client = run(ask, address(service, "$host:$port"), image=with_openssl)
    assert "over TLS" in await bench.said(client)


SCOPE = CallContext("octocat/hello")


def secret(name: str) -> pb.Value:
    return pb.Value(secret=pb.Secret(name=name))


async def holding(text: str, *folders: Path) -> bytes:
    """The files with a text in them."""
    found = await trio.run_process(
        ["grep", "-rls", text, *map(str, folders)], capture_stdout=True, check=False
    )
    return found.stdout


async def test_secrets_reach_their_command_and_nothing_else(
    tmp_path: Path, engine: ContainerEngine
) -> None:
    store = SecretStore(tmp_path / "secrets" / "secrets.json")
    for name in ("env", "file", "stdin"):
        store.set(name, f"hunter2-{name}", only=["octocat/hello"], in_keyring=False)
    bearer = pb.Value(array=pb.Array(values=[string("Bearer "), secret("env")]))
    thunk = run(
        "test \"$TOKEN\" = 'Bearer hunter2-env' && test $(cat /run/key) = hunter2-file"
        ' && echo "token: $TOKEN" && echo "key: $(cat /run/key)" >&2; cat',
        env=[pb.Binding(symbol="TOKEN", value=bearer)],
        stdin=[secret("stdin")],
        mounts=[mount(pb.Secret(name="file"), file("/run/key"))],
    )
    seen = Recorder()
    archive = io.BytesIO()

    async def give(data: bytes) -> None:
        archive.write(data)

    state = tmp_path / "state"
    async with ContainerDriver.open(
        state, engine, ContainerOptions(secrets=OwnerSecrets(store))
    ) as driver:
        output = await driver.run(thunk, SCOPE, seen)
        assert output.stdout.read_text() == 'token: Bearer ***\n"***"\n'
        assert seen.text(2) == "key: ***\n"
        assert seen.text(1) == output.stdout.read_text()
        await driver.export(thunk, SCOPE, seen, give)
        assert b"hunter2" not in archive.getvalue()
        assert await holding("hunter2", state, Path("/dev/shm")) == b""
        assert (await engine.ask("secret", "ls", "--quiet")).strip() == ""
        for scope in (CallContext("octocat/hello", fork=True), CallContext("octocat/other")):
            with pytest.raises(DriverError, match="the secret"):
                await driver.run(thunk, scope, seen)
    store.set("env", "hunter3", only=["octocat/hello"], in_keyring=False)
    async with ContainerDriver.open(
        state, engine, ContainerOptions(secrets=OwnerSecrets(store))
    ) as driver:
        output = await driver.run(thunk, SCOPE, seen)  # another value makes another thunk
        assert output.stdout.read_text() == '"***"\n'
    await forget(engine, driver)


async def test_a_cancelled_command_leaves_no_secret(
    tmp_path: Path, engine: ContainerEngine
) -> None:
    store = SecretStore(tmp_path / "secrets" / "secrets.json")
    store.set("env", "hunter2-cancelled", only=["octocat/hello"], in_keyring=False)
    thunk = run("echo up; sleep 600", env=[pb.Binding(symbol="TOKEN", value=secret("env"))])
    seen = Recorder()
    async with (
        ContainerDriver.open(
            tmp_path / "state", engine, ContainerOptions(secrets=OwnerSecrets(store))
        ) as driver,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(driver.run, thunk, SCOPE, seen)
        await seen.printed.wait()
        assert running("hunter2-cancelled") == []
        nursery.cancel_scope.cancel()
    assert (await engine.ask("secret", "ls", "--quiet")).strip() == ""
    store_of_engine = (Path("/var/lib/containers"), Path("/run/containers"))
    kept = (tmp_path / "state", Path("/dev/shm"), *store_of_engine)
    assert await holding("hunter2-cancelled", *kept) == b""
