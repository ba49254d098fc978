"""Real containers: an engine that works here, and a small image made of Debian's busybox-static."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import tarfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from bassloop.runner.call_context import LOCAL, CallContext
from bassloop.runner.container.container_driver import ContainerDriver
from bassloop.runner.container.container_engine import ContainerEngine, EngineError, find
from bassloop.runner.container.image_store import own_repository
from bassloop.wire import bass_pb2 as pb

from ..made import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bassloop.runner.output_cache import ThunkOutput

IMAGE_LINE = "{{.Repository}}:{{.Tag}} {{.ID}}"
BASE = pb.ThunkImage(
    ref=pb.ImageRef(
        repository="localhost/base", tag="bassloop-tests", platform=pb.Platform(os="linux")
    )
)


def busybox_tree() -> bytes:
    """A tar of a root with nothing but busybox and its names."""
    program = Path(shutil.which("busybox") or "/bin/busybox")
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in ("bin", "etc", "tmp", "root", "var"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        tar.add(program, "bin/busybox")
        named = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
        for name in named.stdout.split():
            if name != "busybox":
                info = tarfile.TarInfo(f"bin/{name}")
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def engine() -> ContainerEngine:
    """The engine that runs them, with the base image in it."""

    async def prepare() -> ContainerEngine:
        found = await find()
        assert isinstance(found, ContainerEngine), found
        change = 'CMD ["sh", "-c", "echo from the image"]'
        env = "ENV FROM_IMAGE=yes"
        name = "localhost/base:bassloop-tests"
        tree = busybox_tree()
        earlier = (await images_of(found, name)).split()
        await found.ask("import", "--change", change, "--change", env, "-", name, stdin=tree)
        if earlier:
            with suppress(EngineError):  # other tests that run now may use it
                await found.ask("rmi", earlier[1])
        return found

    return trio.run(prepare)


class Bench:
    """A driver and what it reports."""

    def __init__(self, driver: ContainerDriver) -> None:
        self.driver = driver
        self.seen = Recorder()

    async def run(self, thunk: pb.Thunk, scope: CallContext = LOCAL) -> ThunkOutput:
        return await self.driver.run(thunk, scope, self.seen)

    async def said(self, thunk: pb.Thunk, scope: CallContext = LOCAL) -> str:
        return (await self.run(thunk, scope)).stdout.read_text()

    async def containers(self) -> list[str]:
        """The containers that run now."""
        label = f"label=bassloop.state={self.driver.settings.owner}"
        words = ("ps", "--filter", label, "--format", "{{.Names}}")
        return (await self.driver.settings.engine.ask(*words)).split()


async def forget(engine: ContainerEngine, driver: ContainerDriver, *registries: str) -> None:
    """Remove the images that a driver has made, and those of registries."""
    await forget_state(engine, driver.cache.folder, *registries)


async def forget_state(engine: ContainerEngine, state: Path, *registries: str) -> None:
    """The same for the driver that has used a folder."""
    own = own_repository(state)
    references = [f"{each}/*/*" for each in registries] + ([] if own is None else [f"{own}:*"])
    listed = [await images_of(engine, each) for each in references]
    ours = tuple(each.rstrip("/*") for each in references)  # one image may have other names, too
    named = [line.split() for line in "".join(listed).splitlines() if line.startswith(ours)]
    if named:
        names = [each[1] if each[0].endswith(":<none>") else each[0] for each in named]
        await engine.ask("rmi", "--force", *dict.fromkeys(names))


async def images_of(engine: ContainerEngine, reference: str) -> str:
    """The images of a name, by name and id. An image that goes while Podman looks at it spoils the whole list."""
    words = ("images", "--filter", f"reference={reference}", "--format", IMAGE_LINE)
    for _ in range(4):
        try:
            return await engine.ask(*words)
        except EngineError:
            await trio.sleep(0.5)
    return await engine.ask(*words)


def free_port() -> int:
    """Return a free port of 127.0.0.1 that the system gives to no program that wants just any port."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(5_000, max(first, 10_000))
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[str]:
    """A registry on loopback."""
    program = shutil.which("docker-registry")
    assert program is not None, "Debian: apt-get install docker-registry"
    port = free_port()
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "http": {"addr": f"127.0.0.1:{port}"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
    }
    path = tmp_path / "registry.yml"
    path.write_text(json.dumps(config))
    process = subprocess.Popen(  # noqa: ASYNC220
        [program, "serve", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with trio.fail_after(120):
            while True:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", port)
                except OSError:
                    assert process.poll() is None, "the registry has ended"
                    await trio.sleep(0.05)
                else:
                    await stream.aclose()
                    break
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def bench(tmp_path: Path, engine: ContainerEngine) -> AsyncIterator[Any]:
    async with ContainerDriver.open(tmp_path / "state", engine) as driver:
        yield Bench(driver)
    owner = f"label=bassloop.state={driver.settings.owner}"
    left = (await engine.ask("ps", "--all", "--quiet", "--filter", owner)).split()
    if left:
        await engine.ask("rm", "--force", *left)
    await forget(engine, driver)
    assert left == [], "containers were left"
