"""The conformance table: our drivers beside the reference's runner with BuildKit, on the same thunks.

    python -m tests.runner.conformance.beside_go --bass PATH --buildkit unix:///run/buildkit/buildkitd.sock

Needs what the session `containers` needs, and a BuildKit that takes 127.0.0.1:5000 for a registry without
TLS. The reference's runner registers at our gateway, as it would with any loop. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.runner.container.container_engine import ContainerEngine, find
from bassloop.wire import bass_pb2 as pb

from ...gateway.conftest import USER_KEY, open_gateway
from ..containers.conftest import busybox_tree
from .asking import Asked
from .cases import CASES, Case
from .drivers import DRIVERS, open_runtime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bassloop.runtimes import Runtime

PORT = 5000
REGISTRY = f"127.0.0.1:{PORT}"
IMAGE = pb.ThunkImage(
    ref=pb.ImageRef(
        repository=f"{REGISTRY}/base", tag="conformance", platform=pb.Platform(os="linux")
    )
)
SECONDS = 90


@asynccontextmanager
async def registry_on_loopback(folder: Path) -> AsyncGenerator[None]:
    """A registry with the base image in it."""
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "http": {"addr": REGISTRY},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
    }
    (folder / "registry.yml").write_text(json.dumps(config))
    process = await trio.lowlevel.open_process(
        ["docker-registry", "serve", str(folder / "registry.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        engine = await find()
        assert isinstance(engine, ContainerEngine), engine
        name = f"{REGISTRY}/base:conformance"
        change = ["--change", 'CMD ["sh", "-c", "echo from the image"]']
        change += ["--change", "ENV FROM_IMAGE=yes"]
        await engine.ask("import", *change, "-", name, stdin=busybox_tree())
        await engine.ask("push", "--quiet", "--tls-verify=false", name)
        yield
        await engine.ask("rmi", "--force", name)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def go_runtime(bass: str, buildkit: str, folder: Path) -> AsyncGenerator[Runtime]:
    """The reference's runner, registered at a gateway of ours."""
    home, theirs = folder / "go", Path.home() / ".ssh"
    kinds = {kind: home / kind.lower() for kind in ("config", "state", "cache", "data", "ssh")}
    for each in kinds.values():
        each.mkdir(parents=True, mode=0o700)
    config = {"platform": {"os": "linux"}, "runtime": "buildkit", "config": {"addr": buildkit}}
    (home / "config" / "bass").mkdir()
    (home / "config" / "bass" / "config.json").write_text(json.dumps({"runtimes": [config]}))
    USER_KEY.write_private_key(home / "ssh" / "id_ed25519")
    (home / "ssh" / "id_ed25519").chmod(0o600)
    env = {**os.environ, **{f"XDG_{each.name.upper()}_HOME": str(each) for each in kinds.values()}}
    env.pop("SSH_AUTH_SOCK", None)
    # It looks for its keys in the home folder of /etc/passwd, whatever the environment says.
    box = ["bwrap", "--dev-bind", "/", "/", "--bind", str(home / "ssh"), str(theirs)]
    async with open_gateway() as gateway:
        (home / "ssh" / "known_hosts").write_text(f"{gateway.address.known_hosts_line}\n")
        words = [*box, "--", bass, "--runner", f"vito@127.0.0.1:{gateway.address.port}"]
        log = (home / "log").open("wb")
        process = await trio.lowlevel.open_process(
            words, env=env, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield await gateway.pool.wait_for(7, timeout=60)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            log.close()


async def ask(case: Case, asked: Asked) -> str:
    """Return the answer, or that there was none."""
    with trio.move_on_after(SECONDS):
        try:
            return await case.ask(asked)
        except Exception as error:  # noqa: BLE001  (it is the answer)
            return str(error)
    return f"nothing within {SECONDS} s"


def cell(driver: str, case: Case, said: str) -> str:
    """Return an answer's cell in the table."""
    if said == case.expected and driver not in case.instead:
        return "same"
    if driver in case.instead:
        pattern, why = case.instead[driver]
        if re.search(pattern, said):
            return why
        return f"**unexpected**: {said[:200]!r}"
    plain = " ".join(said.split())
    return f"`{plain[:200]}`" if plain else "nothing"


async def main() -> None:
    """Ask all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bass")
    parser.add_argument("--buildkit")
    parser.add_argument("--only", help="cases with this in their name")
    options = parser.parse_args()
    wanted = [case for case in CASES if not options.only or options.only in str(case)]
    columns: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with registry_on_loopback(folder):
            for name in (*DRIVERS, *(["Go and BuildKit"] if options.bass else [])):
                async with AsyncExitStack() as stack:
                    if name in DRIVERS:
                        opened = open_runtime(name, folder, publish_to=(f"{REGISTRY}/team",))
                    else:
                        opened = go_runtime(options.bass, options.buildkit, folder)
                    runtime = await stack.enter_async_context(opened)
                    asked = Asked(runtime, IMAGE, REGISTRY)
                    columns[name] = [cell(name, case, await ask(case, asked)) for case in wanted]
    print("| | what |", " | ".join(columns), "|")
    print("| --- | --- |", " | ".join("---" for _ in columns), "|")
    for number, case in enumerate(wanted):
        row = [each[number].replace("|", "\\|") for each in columns.values()]
        print(f"| `{case.of}` | {case.what} |", " | ".join(row), "|")


if __name__ == "__main__":
    trio.run(main)
