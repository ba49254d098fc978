"""Keys that can't be used, or can't sign, and the messages about them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import asyncssh
import pytest
import trio

from bassloop.bridge import open_bridge
from bassloop.runner import RunnerOptions
from bassloop.runner.errors import RunnerError
from bassloop.runner.signing import ConnectionSigner
from bassloop.runner.ssh_client import Dialler, load

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = "it has a passphrase; add it to your agent with ssh-add"


def encrypted(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.write_bytes(key.export_private_key("pkcs8-pem", passphrase="secret"))
    path.chmod(0o600)
    return path


def test_a_given_key_with_a_passphrase_belongs_in_the_agent(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "id")
    with pytest.raises(RunnerError, match=f"{path} can't be used: {PASSPHRASE}"):
        load(RunnerOptions(login="ada", host="localhost", identities=(path,)))


def test_a_default_key_that_can_not_be_read_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", f"/{'x' * 300}")  # longer than a name may be
    loaded = load(RunnerOptions(login="ada", host="localhost"))
    assert loaded.keys == ()
    assert all("File name too long" in each for each in loaded.skipped)


async def test_a_skipped_default_key_is_named_if_there_is_no_other_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = encrypted(tmp_path / ".ssh" / "id_ed25519")
    options = RunnerOptions(
        login="ada", host="localhost", use_agent=False, known_hosts=tmp_path / "known_hosts"
    )
    warned: list[str] = []
    async with open_bridge():
        with pytest.raises(RunnerError, match=f"no SSH key .*{path} is not offered: {PASSPHRASE}"):
            async with Dialler(options, lambda: None, warn=warned.append).dial():
                pass
    assert warned == [f"{path} is not offered: {PASSPHRASE}"]


async def test_a_key_that_has_to_be_touched_signs_nothing_and_its_owner_is_informed() -> None:
    algorithm = b"sk-ssh-ed25519@openssh.com"
    signer = ConnectionSigner("ada", SimpleNamespace(algorithm=algorithm))
    assert await signer.sign(b"a statement") is None
    assert "runs won't be signed" in str(signer.problem)


async def test_an_agent_that_refuses_leaves_a_run_unsigned_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = SimpleNamespace(
        algorithm=b"ssh-ed25519",
        key_algorithm=b"ssh-ed25519",
        key_public_data=b"",
        get_key_type=lambda: "agent",
    )
    signer = ConnectionSigner("ada", key, str(tmp_path / "no agent"))
    async with open_bridge():
        with trio.fail_after(120):
            assert await signer.sign(b"a statement") is None
    assert signer.problem is None
    assert "run not signed" in "".join(capsys.readouterr())
