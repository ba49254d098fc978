"""What `bassloop verify` says of what it can't check."""

from __future__ import annotations

import json
from typing import Any

import asyncssh
import pytest
import trio

from bassloop.tools.loop_client import LoopClient, LoopError, RunAddress
from bassloop.tools.verification import verify_file, verify_run
from bassloop.trust.envelope import SignedStatement, signed_bytes
from bassloop.trust.sshsig import SSHSignature, to_be_signed
from bassloop.trust.statement import RunnerDescription, RunStatement

UNSIGNED = {"state": "none", "text": "not signed: Go runners can't"}


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"ended_at": None, "signature": None}, "hasn't ended, and is signed when it does"),
        ({"ended_at": "2026-01-01", "signature": None}, "isn't signed: no runner has run it"),
        ({"ended_at": "2026-01-01", "signature": UNSIGNED}, "not signed: Go runners can't"),
    ],
)
async def test_a_page_says_why_a_run_has_no_statement(
    monkeypatch: pytest.MonkeyPatch, run: dict[str, Any], said: str
) -> None:
    async def get(self: LoopClient, path: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return run

    monkeypatch.setattr(LoopClient, "get", get)
    with pytest.raises(LoopError, match=said):
        await verify_run(RunAddress("http://loop", "r"), (), keys=None, online=False)


async def test_a_server_without_tls_is_named_as_such() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        address = RunAddress(f"https://127.0.0.1:{port}", "r")
        with pytest.raises(LoopError, match=r"/runs/r: nothing there speaks TLS; is it an http:"):
            await verify_run(address, (), keys=None, online=False)
        nursery.cancel_scope.cancel()


def envelope(key: asyncssh.SSHKey) -> bytes:
    """Return a statement of octocat's, signed with a key."""
    payload = RunStatement(
        run="r",
        login="octocat",
        repository="octocat/hello",
        commit="0" * 40,
        thunk="1" * 64,
        result="PASSED",
        log="2" * 64,
        started_at=1.0,
        ended_at=2.0,
        runner=RunnerDescription("1", "podman 5", uses_images=True, contained=True),
        images=(("alpine", "sha256:" + "3" * 64),),
        given="4" * 64,
    ).encode()
    blob = key.sign(to_be_signed(signed_bytes(payload)), key.algorithm)
    signed = SignedStatement(payload, SSHSignature(key.public_data, blob))
    return json.dumps(signed.envelope()).encode()


async def test_claims_that_only_the_runner_can_know_are_listed() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    keys = key.export_public_key().decode()
    report = await verify_file(envelope(key), thunk=None, keys=keys, online=False)
    assert report.wrong == []
    unchecked = " ".join(report.unchecked)
    assert "the artifacts of other checks that it was given" in unchecked
    assert "the digests of the images, which only the runner's engine knows" in unchecked


async def test_signatures_for_somebody_else_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    mallory, theirs = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    keys = theirs.export_public_key().decode()
    forged = envelope(mallory)
    report = await verify_file(forged, thunk=None, keys=keys, online=False)
    assert report.wrong == [
        "the file of keys doesn't list the key for octocat: it was never theirs, or has been removed since"
    ]

    async def download(self: LoopClient, path: str, limit: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return keys.encode()

    monkeypatch.setattr(LoopClient, "download", download)
    report = await verify_file(forged, thunk=None, keys=None, online=True)
    assert "https://github.com/octocat.keys doesn't list the key" in report.wrong[0]
