"""The images in a signed statement are those that the engine used, by the digests that their registry knows."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncssh
import httpx
import pytest

from bassloop.runner.call_context import LOCAL
from bassloop.runner.container.container_driver import ContainerDriver
from bassloop.runner.signing import ConnectionSigner, RunWitness
from bassloop.trust.envelope import SignedStatement
from bassloop.wire import bass_pb2 as pb

from .conftest import BASE, Bench, busybox_tree, forget
from .test_run import run

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.runner.container.container_engine import ContainerEngine
    from bassloop.trust.statement import RunStatement

pytestmark = pytest.mark.containers

KEY = asyncssh.load_keypairs([asyncssh.generate_private_key("ssh-ed25519")])[0]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


async def stated(driver: ContainerDriver, thunk: pb.Thunk) -> RunStatement:
    """Return the statement about a run of the thunk."""
    context = replace(LOCAL, images={})
    signer = ConnectionSigner(login="octocat", key=KEY)
    witness = RunWitness(thunk, {"bassloop-run": "r"}, context, driver, signer)
    await Bench(driver).run(thunk, context)
    trailers = await witness.trailers(None)
    signed = SignedStatement.decode(
        trailers["bassloop-statement-bin"], trailers["bassloop-signature-bin"]
    )
    return signed.statement()


async def test_a_statement_names_an_image_by_its_registrys_digest_even_if_the_run_was_cached(
    tmp_path: Path, engine: ContainerEngine, registry: str
) -> None:
    name = f"{registry}/team/base:1"
    words = ("push", "--tls-verify=false") if engine.kind == "podman" else ("push",)
    # An image of its own: of one that was here under another name too, Podman says that name's digest.
    unique = f"ENV UNIQUE={secrets.token_hex(8)}"
    await engine.ask("import", "--change", unique, "-", name, stdin=busybox_tree())
    await engine.ask(*words, name)
    await engine.ask("rmi", name)
    async with httpx.AsyncClient() as client:
        url = f"http://{registry}/v2/team/base/manifests/1"
        answer = await client.head(url, headers={"Accept": MANIFEST})
    digest = answer.headers["Docker-Content-Digest"]
    ref = pb.ImageRef(repository=f"{registry}/team/base", tag="1", platform=BASE.ref.platform)
    thunk = run("echo hello", image=pb.ThunkImage(ref=ref))
    async with ContainerDriver.open(tmp_path / "state", engine) as driver:
        for _ in range(2):
            statement = await stated(driver, thunk)
            assert statement.images == ((name, digest),)
            assert statement.runner.uses_images
            assert statement.runner.engine.startswith(engine.kind)
        pinned = pb.ImageRef(
            repository=f"{registry}/team/base", digest=digest, platform=BASE.ref.platform
        )
        statement = await stated(driver, run("echo hello", image=pb.ThunkImage(ref=pinned)))
        assert [value for _, value in statement.images] == [digest]
        await forget(engine, driver, registry)
