"""The owner's secrets: where they are stored, and which commands get them."""

from __future__ import annotations

import json
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from click.testing import CliRunner

from bassloop.cli import cli
from bassloop.runner.call_context import LOCAL, CallContext
from bassloop.runner.errors import DriverError
from bassloop.runner.host import sandbox
from bassloop.runner.host.host_driver import HostDriver, HostOptions
from bassloop.runner.options import default_limits
from bassloop.runner.secrets import OwnerSecrets, SecretError, SecretStore
from bassloop.runner.secrets.secret_store import SystemKeyring
from bassloop.runtimes import RunFailed
from bassloop.wire import bass_pb2 as pb

from .conformance.asking import Asked
from .conformance.drivers import open_runtime
from .made import IMAGE, Recorder, after, file, folder, mount, path_in, sh, string

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bassloop.runtimes import Runtime

OURS, FORK, OTHER = (
    CallContext("octocat/hello"),
    CallContext("octocat/hello", fork=True),
    CallContext("octocat/other"),
)


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    return SecretStore(tmp_path / "kept" / "secrets.json")


class Memory:
    """A keyring in memory, as the library's backends are."""

    priority = 5

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.asked = 0

    def get_keyring(self) -> Memory:
        return self

    def set_password(self, service: str, name: str, value: str) -> None:
        self.kept[service, name] = value

    def get_password(self, service: str, name: str) -> str | None:
        self.asked += 1
        return self.kept.get((service, name))

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


async def granted(store: SecretStore, scope: CallContext, name: str = "TOKEN") -> str:
    return (await OwnerSecrets(store).grant(scope)).value(name)


async def test_a_secret_is_given_to_its_repository_and_to_no_fork(store: SecretStore) -> None:
    store.set("TOKEN", "hunter2", only=["Octocat/Hello"], in_keyring=False)
    assert await granted(store, OURS) == "hunter2"
    for scope, reason in (
        (FORK, "not granted to forks of octocat/hello.*--forks"),
        (OTHER, "not for octocat/other.*--only octocat/other"),
        (LOCAL, "does not say for which repository"),
    ):
        with pytest.raises(DriverError, match=reason):
            await granted(store, scope)
    with pytest.raises(DriverError, match="secret set NONE --only octocat/hello"):
        await granted(store, OURS, "NONE")


async def test_forks_get_a_secret_if_the_owner_allows_it(store: SecretStore) -> None:
    store.set("TOKEN", "hunter2", only=["octocat/*"], forks=True, in_keyring=False)
    assert await granted(store, FORK) == "hunter2"


async def test_the_most_specific_rule_counts_whatever_was_set_first(store: SecretStore) -> None:
    store.set("TOKEN", "of octocat/hello", only=["octocat/hello"], in_keyring=False)
    store.set("TOKEN", "of octocat", only=["octocat/*"], in_keyring=False)
    store.set("TOKEN", "of all", forks=True, in_keyring=False)
    assert await granted(store, OURS) == "of octocat/hello"
    assert await granted(store, OTHER) == "of octocat"
    assert await granted(store, CallContext("else/where")) == "of all"
    assert await granted(store, FORK) == "of all"


async def test_a_new_value_has_another_version_that_does_not_reveal_it(store: SecretStore) -> None:
    versions = []
    for value in ("hunter2", "hunter3", "hunter2"):
        store.set("TOKEN", value, in_keyring=False)
        versions.append((await OwnerSecrets(store).grant(OURS)).version("TOKEN"))
    assert len(set(versions)) == 3
    assert not any("hunter" in each for each in versions)


async def test_a_removed_secret_is_deleted_from_the_file(store: SecretStore) -> None:
    store.set("TOKEN", "hunter2", only=["a/b", "octocat/hello"], in_keyring=False)
    assert store.remove("TOKEN", only=["a/b"]) == 1
    assert await granted(store, OURS) == "hunter2"
    assert store.remove("TOKEN") == 1
    assert store.remove("TOKEN") == 0
    assert "hunter2" not in store.path.read_text()


def test_only_the_owner_can_read_the_file_of_secrets(store: SecretStore) -> None:
    store.set("TOKEN", "hunter2", in_keyring=False)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert [path.name for path in store.path.parent.iterdir()] == [store.path.name]
    assert "hunter2" not in repr(store.entries())
    store.path.chmod(0o640)
    with pytest.raises(SecretError, match="chmod 600"):
        store.entries()


def test_concurrent_changes_of_secrets_are_all_stored(store: SecretStore) -> None:
    threads = [
        threading.Thread(
            target=store.set, args=(f"S{number}", "hunter2"), kwargs={"in_keyring": False}
        )
        for number in range(12)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(store.entries()) == 12


@pytest.mark.parametrize(
    ("name", "value", "only"),
    [("", "value", ()), ("a b", "value", ()), ("A", "abc", ()), ("A", " \n   ", ()),
     ("A", "val\0ue", ()), ("A", "x" * 600_000, ()), ("A", "value", ("everything",))],
)  # fmt: skip
def test_invalid_secrets_are_refused_and_not_shown(
    store: SecretStore, name: str, value: str, only: tuple[str, ...]
) -> None:
    with pytest.raises(SecretError) as caught:
        store.set(name, value, only=only, in_keyring=False)
    assert "value" not in str(caught.value)
    assert not store.path.exists() or store.entries() == []


async def test_values_may_be_stored_in_the_keyring(tmp_path: Path) -> None:
    keyring = Memory()
    store = SecretStore(tmp_path / "secrets.json", SystemKeyring(keyring))
    assert store.set("TOKEN", "hunter2") == "the system's keyring"
    assert "hunter2" not in store.path.read_text()
    secrets = OwnerSecrets(store)
    for _ in range(3):
        assert (await secrets.grant(OURS)).value("TOKEN") == "hunter2"
    assert keyring.asked == 1
    store.set("TOKEN", "hunter3")
    assert (await secrets.grant(OURS)).value("TOKEN") == "hunter3"
    assert list(keyring.kept.values()) == ["hunter3"]
    store.remove("TOKEN")
    assert keyring.kept == {}


async def test_a_locked_keyring_is_reported_to_the_commands_that_need_it(tmp_path: Path) -> None:
    class Locked(Memory):
        def get_password(self, service: str, name: str) -> str | None:
            raise RuntimeError("the collection is locked")

    store = SecretStore(tmp_path / "secrets.json", SystemKeyring(Locked()))
    store.set("TOKEN", "hunter2")
    store.set("OTHER", "hunter2", in_keyring=False)
    assert await granted(store, OURS, "OTHER") == "hunter2"
    with pytest.raises(DriverError, match="the collection is locked"):
        await granted(store, OURS)


def test_values_are_stored_in_the_file_if_there_is_no_keyring(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    store = SecretStore(tmp_path / "secrets.json")
    assert store.set("TOKEN", "hunter2") == str(store.path)
    with pytest.raises(SecretError, match=r"bassloop\[keyring\]"):
        store.set("TOKEN", "hunter2", in_keyring=True)


async def test_a_configured_keyring_that_is_out_of_reach_is_none(
    tmp_path: Path, monkeypatch: Any
) -> None:
    keyring = Memory()
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    store = SecretStore(tmp_path / "secrets.json")
    assert store.set("TOKEN", "hunter2") == "the system's keyring"

    def out_of_reach() -> Memory:
        raise RuntimeError("DBUS_SESSION_BUS_ADDRESS is unset")

    keyring.get_keyring = out_of_reach
    assert store.set("OTHER", "hunter2") == str(store.path)
    with pytest.raises(DriverError, match="DBUS_SESSION_BUS_ADDRESS is unset"):
        await granted(store, OURS)


# --- the command ---------------------------------------------------------------------------------------


def test_the_command_takes_the_value_from_standard_input(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "keyring", None)
    words = ["runner", "secret", "set", "TOKEN", "--only", "octocat/hello"]
    done = CliRunner().invoke(cli, words, input="hunter2\n")
    assert done.exit_code == 0
    assert "for octocat/hello" in done.output
    assert "hunter2" not in done.output
    [entry] = SecretStore().entries()
    assert entry.value == "hunter2"
    listed = CliRunner().invoke(cli, ["runner", "secret", "list", "--json"]).output
    assert json.loads(listed) == {
        "name": "TOKEN", "only": "octocat/hello", "forks": False, "in": "file"
    }  # fmt: skip
    assert "octocat/hello" in CliRunner().invoke(cli, ["runner", "secret", "list"]).output
    assert CliRunner().invoke(cli, ["runner", "secret", "remove", "TOKEN"]).exit_code == 0
    again = CliRunner().invoke(cli, ["runner", "secret", "remove", "TOKEN"])
    assert (again.exit_code, "no secret TOKEN" in again.output) == (1, True)


def test_a_runners_address_is_not_mistaken_for_a_command_and_help_shows_both() -> None:
    told = CliRunner().invoke(cli, ["runner", "--help"]).output
    assert "[LOGIN@]HOST[:PORT]" in told
    assert "secret" in told
    assert "prune" in told
    refused = CliRunner().invoke(cli, ["runner", "-j", "2", "no loop at all"])
    assert "is not the address of a loop" in refused.output


# --- on the host driver --------------------------------------------------------------------------------


@pytest.fixture(params=["host", pytest.param("sandboxed", marks=pytest.mark.containers)])
async def driver(
    request: pytest.FixtureRequest, tmp_path: Path, store: SecretStore
) -> AsyncIterator[HostDriver]:
    box = None
    if request.param == "sandboxed":
        box = await sandbox.find(limits=default_limits())
    store.set("TOKEN", "hunter2-env", in_keyring=False)
    store.set("FILE", "hunter2-file\nline two", in_keyring=False)
    secrets = OwnerSecrets(store)
    async with HostDriver.open(
        tmp_path / "state", HostOptions(secrets=secrets, sandbox=box)
    ) as driver:
        yield driver


def secret(name: str) -> pb.Value:
    return pb.Value(secret=pb.Secret(name=name))


async def test_secrets_reach_their_command_and_nothing_else(
    driver: HostDriver, tmp_path: Path
) -> None:
    thunk = sh(
        'test "$TOKEN" = \'Bearer hunter2-env\' && test "$(head -n 1 key)" = hunter2-file && ls -A'
        ' && echo "$TOKEN" && cat key >&2; cat',
        env=[
            pb.Binding(
                symbol="TOKEN",
                value=pb.Value(array=pb.Array(values=[string("Bearer "), secret("TOKEN")])),
            )
        ],
        stdin=[secret("FILE")],
        mounts=[mount(pb.Secret(name="FILE"), file("key"))],
    )
    seen = Recorder()
    output = await driver.run(thunk, OURS, seen)
    assert output.stdout.read_text() == 'key\nBearer ***\n"***"\n'
    assert seen.text(1) == output.stdout.read_text()
    assert seen.text(2) == "***"
    assert list(output.files.iterdir()) == []
    left = await trio.run_process(
        ["grep", "-rl", "hunter2", str(tmp_path / "state")], capture_stdout=True, check=False
    )
    assert left.stdout == b""
    with pytest.raises(DriverError, match="forks"):
        await driver.run(thunk, FORK, seen)


def command_lines() -> list[str]:
    """Return the command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found.append(path.read_text(errors="replace").replace("\0", " "))
    return found


async def test_a_secret_is_on_no_command_line(driver: HostDriver) -> None:
    thunk = sh("echo up; sleep 600", env=[pb.Binding(symbol="TOKEN", value=secret("TOKEN"))])
    seen = Recorder()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run, thunk, OURS, seen)
        await seen.printed.wait()
        listed = command_lines()
        nursery.cancel_scope.cancel()
    assert any("sleep 600" in line for line in listed)
    assert not any("hunter2" in line for line in listed)


async def test_secrets_in_an_output_are_hidden_in_later_thunks_too(
    driver: HostDriver,
) -> None:
    made = sh("echo $TOKEN > hunter2-env", env=[pb.Binding(symbol="TOKEN", value=secret("TOKEN"))])
    seen = Recorder()
    output = await driver.run(sh("cat hunt*; ls", image=after(made)), OURS, seen)
    assert output.stdout.read_text() == "***\n***\n"
    with pytest.raises(DriverError) as caught:
        await driver.run(sh("exec ./hunt*", image=after(made)), OURS, seen)
    assert "hunter2" not in str(caught.value)
    assert not any("hunter2" in each.name + each.error for each in seen.history)


async def test_a_changed_secret_changes_the_key_of_a_thunk(
    driver: HostDriver, store: SecretStore
) -> None:
    thunk = sh(
        "cat /proc/sys/kernel/random/uuid",
        env=[pb.Binding(symbol="TOKEN", value=secret("TOKEN"))],
    )
    then = sh("cat /proc/sys/kernel/random/uuid", image=after(thunk))
    seen = Recorder()
    first = [await driver.run(each, OURS, seen) for each in (thunk, then)]
    assert [await driver.run(each, OURS, seen) for each in (thunk, then)] == first
    store.set("TOKEN", "hunter4-env", in_keyring=False)
    second = [await driver.run(each, OURS, seen) for each in (thunk, then)]
    assert all(a != b for a, b in zip(first, second, strict=True))


async def test_a_file_with_a_secret_in_it_is_not_sent(tmp_path: Path) -> None:
    async with open_runtime("host", tmp_path) as runtime:
        asked = Asked(runtime, IMAGE)
        thunk = sh(
            "mkdir d; echo fine > fine; echo $TOKEN | base64 > d/leak",
            env=[pb.Binding(symbol="TOKEN", value=secret("ONE"))],
        )
        assert await asked.tar_of(path_in(thunk, file("fine"))) == {"fine": b"fine\n"}
        for path in (folder("d"), file("d/leak"), folder(".")):
            with pytest.raises(RunFailed, match="secrets don't leave the runner"):
                await asked.tar_of(path_in(thunk, path))
        assert await asked.read(sh("cat d/leak", image=after(thunk))) == "***Qo=\n"


async def test_nothing_is_sent_of_a_large_file_that_ends_with_a_secret(tmp_path: Path) -> None:
    thunk = sh(
        "head -c 600000 /dev/zero >large; echo $TOKEN >>large",
        env=[pb.Binding(symbol="TOKEN", value=secret("ONE"))],
    )
    sent: list[bytes] = []

    async def export(runtime: Runtime) -> None:
        metadata = Asked(runtime, IMAGE).metadata
        async with runtime.export_path(path_in(thunk, file("large")), metadata) as answers:
            async for answer in answers:
                if isinstance(answer, bytes):
                    sent.append(answer)

    async with open_runtime("host", tmp_path) as runtime:
        with pytest.raises(RunFailed, match="secrets don't leave the runner"):
            await export(runtime)
    assert sent == []
