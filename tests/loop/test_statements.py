"""Signed statements on their way from the runner to a verifier, with nothing faked."""

from __future__ import annotations

import os
from subprocess import PIPE
from typing import TYPE_CHECKING

import asyncssh
import pytest
import trio

from bassloop.bridge import call_asyncio, open_bridge
from bassloop.runner.signing import ConnectionSigner
from bassloop.runner.ssh_client import load_from_agent
from bassloop.trust.envelope import SignedStatement
from bassloop.trust.sshsig import NAMESPACE
from tests.forked_programs import run_bassloop
from tests.loop.test_whole_path import check_run, get, tried

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from bassloop.tools.trial import Trial
    from tests.repositories import MakeRepository


async def test_a_run_is_signed_with_the_key_that_the_runner_connected_with(
    make_repository: MakeRepository,
) -> None:
    path = make_repository(
        """:greet (on src ($ sh -c "echo hello from $(cat name.txt)"))
           :broken (on src ($ sh -c "echo it broke >&2; exit 3"))""",
        **{"name.txt": "a file\n"},
    )
    async with tried(path) as trial:
        for name, result in (("greet", "PASSED"), ("broken", "FAILED")):
            run_id = check_run(trial, name)["external_id"]
            store = trial.daemon.store
            run, record = await store.runs.get(run_id), await store.statements.get(run_id)
            assert run is not None
            assert record is not None
            assert (record.problem, record.listed) == (None, True)
            signed = SignedStatement.decode(record.payload, record.signature)
            statement = signed.statement()
            assert (statement.run, statement.commit) == (run_id, trial.head)
            assert statement.result == result
            assert statement.runner.engine in ("host", "bubblewrap")
            assert not statement.runner.uses_images
            assert signed.signature.public_key in trial.standin.account(record.login).keys


async def verified(trial: Trial, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Return the output of `bassloop verify`."""
    return await run_bassloop("verify", *arguments, env={"PATH": ""})


async def test_anybody_can_verify_a_statement_without_trusting_the_loop(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(':greet (on src ($ sh -c "echo hello; cat name.txt >&2"))')
    keys, files = tmp_path / "keys", tmp_path / "files"
    files.mkdir()
    async with tried(path) as trial:
        run_id = check_run(trial, "greet")["external_id"]
        page = f"{trial.daemon.local_url}/runs/{run_id}"
        keys.write_text("\n".join(trial.standin.account(trial.standin.login).keys))
        ended = await verified(trial, page, "--keys", str(keys))
        said = ended.stdout.decode()
        assert ended.returncode == 0, said + ended.stderr.decode()
        assert "WRONG" not in said
        assert "unknown" not in said
        assert "the log is the one that was signed for" in said
        answer = await get(trial, f"/runs/{run_id}/statement.dsse")
        (files / "s.dsse").write_bytes(answer.content)
        for name in ("signed", "sig"):
            answer = await get(trial, f"/runs/{run_id}/statement.{name}")
            (files / f"s.{name}").write_bytes(answer.content)
        answer = await get(trial, f"/runs/{run_id}", accept="application/json")
        assert answer.json()["signature"]["state"] == "signed"
        thunk = await get(trial, f"/thunks/{answer.json()['thunk']}", accept="application/json")
        (files / "thunk.json").write_bytes(thunk.content)
        shown = (await get(trial, f"/runs/{run_id}")).text
        assert f"signed by {trial.standin.login} with key SHA256:" in shown
    # The loop is gone.
    offline = [str(files / "s.dsse"), "--offline", "--keys", str(keys)]
    ended = await verified(trial, *offline, "--thunk", str(files / "thunk.json"))
    assert ended.returncode == 0, ended.stdout.decode() + ended.stderr.decode()
    assert "unknown  the log" in ended.stdout.decode()
    ended = await verified(trial, str(files / "s.dsse"), "--offline")
    assert b"unknown  the key" in ended.stdout
    other = thunk.content.replace(b"hello", b"hallo")
    assert other != thunk.content
    (files / "thunk.json").write_bytes(other)
    ended = await verified(trial, *offline, "--thunk", str(files / "thunk.json"))
    assert ended.returncode == 1
    assert b"the thunk is another one than was signed for" in ended.stdout


@pytest.mark.openssh
async def test_openssh_can_verify_a_statement(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    path = make_repository(':greet (on src ($ sh -c "echo hello"))')
    async with tried(path) as trial:
        run_id, login = check_run(trial, "greet")["external_id"], trial.standin.login
        [key] = trial.standin.account(login).keys
        (tmp_path / "allowed").write_text(f"{login} {key}\n")
        for name in ("signed", "sig"):
            answer = await get(trial, f"/runs/{run_id}/statement.{name}")
            (tmp_path / name).write_bytes(answer.content)
    command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", login]
    command += ["-n", NAMESPACE, "-s", str(tmp_path / "sig")]
    ended = await trio.run_process(
        command, stdin=(tmp_path / "signed").read_bytes(), capture_stdout=True
    )
    assert f'Good "{NAMESPACE}" signature for {login}'.encode() in ended.stdout


@pytest.mark.openssh
@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp384", "ssh-rsa"])
async def test_an_ssh_agent_can_sign(tmp_path: Path, algorithm: str) -> None:
    key = asyncssh.generate_private_key(algorithm)
    key.write_private_key(str(tmp_path / "id"))
    (tmp_path / "id").chmod(0o600)
    socket = str(tmp_path / "agent")
    agent = await trio.lowlevel.open_process(["ssh-agent", "-D", "-a", socket], stdout=PIPE)
    try:
        assert agent.stdout is not None
        assert b"SSH_AUTH_SOCK" in await agent.stdout.receive_some()  # it listens
        await trio.run_process(
            ["ssh-add", str(tmp_path / "id")],
            env={**os.environ, "SSH_AUTH_SOCK": socket},
            capture_stderr=True,
        )
        async with open_bridge():
            client, [found] = await call_asyncio(load_from_agent, socket)
            client.close()
            signature = await ConnectionSigner("octocat", found, socket).sign(b"a message")
        assert signature is not None
        signature.verify(b"a message")
        assert signature.key == key.public_data
    finally:
        agent.terminate()
        await agent.wait()


@pytest.mark.parametrize("key", [None, "a touched one"])
async def test_a_run_is_not_signed_without_a_suitable_key(key: object) -> None:
    class Touched:
        algorithm = b"sk-ssh-ed25519@openssh.com"

    signer = ConnectionSigner("octocat", Touched() if key else None)
    assert await signer.sign(b"a message") is None


async def test_a_run_continues_unsigned_if_the_agent_is_gone(tmp_path: Path) -> None:
    class Held:
        algorithm = key_algorithm = b"ssh-ed25519"
        key_public_data = b""

        def get_key_type(self) -> str:
            return "agent"

    async with open_bridge():
        signer = ConnectionSigner("octocat", Held(), str(tmp_path / "no agent"))
        assert await signer.sign(b"a message") is None
