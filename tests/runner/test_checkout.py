"""Private source: Git has the credential for one address, and nobody else sees it."""

from __future__ import annotations

import base64
import subprocess
from typing import TYPE_CHECKING

import pytest

from bassloop.runner.call_context import CallContext, PrivateSource
from bassloop.runner.engine.command import Command, with_credential
from bassloop.runner.secrets import OwnerSecrets
from bassloop.runner.secrets.owner_secrets import GitCredential, find_credential

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://github.com/octocat/hello.git"
TOLD = {
    "bassloop-repository": "octocat/hello",
    "bassloop-visibility": "private",
    "bassloop-fork": "false",
    "bassloop-clone-url": URL,
    "bassloop-checkout-token": "ghs_token-of-this-run",
}


def command(*words: str, **env: str) -> Command:
    return Command(words, env, b"", ".", ())


@pytest.mark.parametrize(
    "changes",
    [
        {"bassloop-visibility": "public"},
        {"bassloop-clone-url": ""},
        {"bassloop-clone-url": "https://github.com/octocat/other.git"},
        {"bassloop-clone-url": "ssh://git@github.com/octocat/hello.git"},
        {"bassloop-clone-url": "https://me:pw@github.com/octocat/hello.git"},
        {"bassloop-clone-url": "https://github.com/octocat/hello\n.git"},
    ],
)
def test_only_a_private_repositorys_own_address_is_a_source(changes: dict[str, str]) -> None:
    assert PrivateSource.from_metadata({**TOLD, **changes}) is None


async def test_a_token_is_given_to_git_commands_only() -> None:
    granted = await OwnerSecrets().grant(CallContext.from_metadata(TOLD))
    assert granted.credential is not None
    for words in (("git", "clone", URL), ("/usr/bin/git", "fetch")):
        env = with_credential(command(*words), granted.credential).secret_env
        assert env["GIT_CONFIG_KEY_1"] == f"http.{URL}.extraHeader"
        assert env["GIT_CONFIG_KEY_0"] == f"http.{URL.removesuffix('.git')}.extraHeader"
    for other in (("sh", "-c", "git clone"), ("gitk",), ()):
        assert with_credential(command(*other), granted.credential).secret_env == {}
    own = command("git", "clone", GIT_CONFIG_COUNT="0")
    assert with_credential(own, granted.credential) == own
    assert with_credential(command("git", "clone"), None).secret_env == {}


async def test_a_token_is_hidden_in_output_and_in_representations() -> None:
    scope = CallContext.from_metadata(TOLD)
    granted = await OwnerSecrets().grant(scope)
    assert granted.credential is not None
    basic = base64.b64encode(b"x-access-token:ghs_token-of-this-run").decode()
    for text in ("ghs_token-of-this-run", f"Authorization: Basic {basic}"):
        assert "ghs_" not in granted.mask.hide(text)
        assert basic[8:40] not in granted.mask.hide(text)
    assert "ghs_" not in f"{scope!r}{granted!r}{granted.credential!r}"


def test_a_call_context_is_equal_whatever_its_token() -> None:
    other = CallContext.from_metadata({**TOLD, "bassloop-checkout-token": "another"})
    assert CallContext.from_metadata(TOLD) == other
    assert CallContext.from_metadata(TOLD).namespaced("name") == other.namespaced("name")


async def test_git_sends_a_token_only_to_its_repositorys_address() -> None:
    env = GitCredential(URL, "me", "pw").variables()

    def asked(url: str) -> str:
        command = ["git", "config", "--get-urlmatch", "http.extraHeader", url]
        return subprocess.run(
            command,
            env={**env, "PATH": "/usr/local/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
        ).stdout

    sent = f"Authorization: Basic {base64.b64encode(b'me:pw').decode()}\n"
    assert asked(URL) == asked(URL.removesuffix(".git")) == sent
    for other in ("https://github.com/octocat/other.git", "https://example.com/octocat/hello.git"):
        assert asked(other) == ""


async def test_an_owners_credential_takes_precedence_if_they_allow_it_and_never_for_forks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gitconfig"
    config.write_text(
        '[credential "https://github.com"]\n'
        '\thelper = "!f() { echo username=octocat; echo password=own-password; }; f"\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    own = await OwnerSecrets(own_git=True).grant(CallContext.from_metadata(TOLD))
    assert own.credential == GitCredential(URL, "octocat", "own-password")
    fork = await OwnerSecrets(own_git=True).grant(
        CallContext.from_metadata({**TOLD, "bassloop-fork": "true"})
    )
    not_allowed = await OwnerSecrets().grant(CallContext.from_metadata(TOLD))
    assert fork.credential == not_allowed.credential
    assert fork.credential == GitCredential(URL, "x-access-token", "ghs_token-of-this-run")


async def test_git_does_not_prompt_for_a_credential_and_uses_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    found = await find_credential(PrivateSource(URL, "t"), own=True)
    assert found == GitCredential(URL, "x-access-token", "t")
    assert await find_credential(PrivateSource(URL), own=True) is None
