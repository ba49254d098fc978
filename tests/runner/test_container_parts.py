"""The container driver without an engine: command lines, answers, names, secrets in what is printed."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, strategies

from bassloop.runner.container import image_info, launcher
from bassloop.runner.container.container_engine import (
    ContainerEngine,
    EngineError,
    find,
    try_limits,
)
from bassloop.runner.container.image_archive import ImageSelector, import_archive
from bassloop.runner.container.image_store import has_changed
from bassloop.runner.container.services import BUNDLES, MAX_BUNDLE, trust_mounts
from bassloop.runner.engine.command import Environment, ImageDefaults, resolve
from bassloop.runner.engine.mounts import BindMount
from bassloop.runner.errors import DriverError
from bassloop.runner.options import CommandLimits
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.conventions import WORK_FOLDER
from tests.test_tar_archive import ATTACKS, SECONDS, header, padded

from .made import after, sh, string

if TYPE_CHECKING:
    from collections.abc import Callable

PODMAN = ContainerEngine(
    "/usr/bin/podman", "podman", options=("--runtime", "runc"), network="slirp4netns"
)
DOCKER = ContainerEngine("/usr/bin/docker", "docker", network="bridge")


def container(**more: object) -> launcher.ContainerSpec:
    given: dict[str, object] = {
        "name": "c1",
        "image": "abc",
        "words": ("sh", "-c", "echo $X"),
        "env": {"X": "a b"},
        "dir": WORK_FOLDER,
        "owner": "me",
    }
    return launcher.ContainerSpec(**{**given, **more})  # type: ignore[arg-type]


def pairs(words: list[str]) -> set[tuple[str, str]]:
    return set(itertools.pairwise(words))


@pytest.mark.parametrize("engine", [PODMAN, DOCKER], ids=str)
def test_a_command_line_ends_with_the_image_and_what_its_entrypoint_is_given(
    engine: ContainerEngine,
) -> None:
    words = launcher.run_words(engine, container())
    assert words[-3:] == ["abc", "-c", "echo $X"]
    begin = engine.command("run")
    assert words[: len(begin)] == begin
    assert {("--entrypoint", "sh"), ("--env", "X=a b"), ("--workdir", WORK_FOLDER)} <= pairs(words)
    assert ("--network", engine.network) in pairs(words)
    assert "--privileged" not in words
    assert ("--security-opt", "no-new-privileges") in pairs(words)


def test_variables_of_an_earlier_command_are_not_part_of_its_image() -> None:
    assert "--unsetenv-all" in launcher.run_words(PODMAN, container(image_env=["SEEN"]))
    words = launcher.run_words(DOCKER, container(image_env=["SEEN", "X"]))
    assert ("--env", "SEEN") in pairs(words)
    assert ("--env", "X") not in pairs(words)


def test_limits_and_mounts_are_reported() -> None:
    binds = [
        BindMount(Path("/s/a"), "/t/a"),
        BindMount(Path("/s/b"), "/t/b", overlay=True),
    ]
    limits = CommandLimits(cpus=1.5, memory=1024, pids=10)
    found = pairs(launcher.run_words(PODMAN, container(limits=limits, binds=binds)))
    assert {("--cpus", "1.5"), ("--memory", "1024"), ("--pids-limit", "10")} <= found
    assert {("--volume", "/s/a:/t/a:rw"), ("--volume", "/s/b:/t/b:O")} <= found


def test_a_secret_is_on_no_command_line() -> None:
    words = launcher.run_words(PODMAN, container(secrets=[launcher.SecretVariable("s1", "TOKEN")]))
    assert ("--secret", "s1,type=env,target=TOKEN") in pairs(words)


@pytest.mark.parametrize(
    ("repository", "tag", "name"),
    [
        ("alpine", None, "docker.io/library/alpine:latest"),
        ("vito/bass", "1", "docker.io/vito/bass:1"),
        ("ghcr.io/a/b", "v1.2", "ghcr.io/a/b:v1.2"),
        ("127.0.0.1:5000/base", "1", "127.0.0.1:5000/base:1"),
        ("localhost/base", "1", "localhost/base:1"),
    ],
)
def test_an_image_reference_has_one_complete_form(
    repository: str, tag: str | None, name: str
) -> None:
    assert image_info.name_of(pb.ImageRef(repository=repository, tag=tag)) == name


def test_a_digest_takes_precedence_over_a_tag() -> None:
    digest = "sha256:" + "a" * 64
    ref = pb.ImageRef(repository="alpine", tag="3", digest=digest)
    assert image_info.name_of(ref) == f"docker.io/library/alpine@{digest}"


@pytest.mark.parametrize(
    "repository",
    [
        "",
        "-v/etc:/x",
        "A/B",
        "a b",
        "../x",
        "x/../y",
        "http://x/y",
        "localhost/bassloop-1/x",
        "a:b:c/d",
    ],
)
def test_invalid_names_of_images_are_refused(repository: str) -> None:
    with pytest.raises(DriverError):
        image_info.name_of(pb.ImageRef(repository=repository))


@given(strategies.text(alphabet="aA0-_./:@ \n", max_size=30))
def test_an_accepted_name_is_never_mistaken_for_an_option(text: str) -> None:
    try:
        name = image_info.name_of(pb.ImageRef(repository=text))
    except DriverError:
        return
    assert name[0].isalnum()
    assert not set(name) & {" ", "\n"}


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("127.0.0.1:5000/x:1", True),
        ("localhost/x:1", True),
        ("localhost:5000/x:1", True),
        ("127evil.com/x:1", False),
        ("docker.io/library/x:1", False),
    ],
)
def test_only_a_registry_of_this_machine_needs_no_tls(name: str, local: bool) -> None:
    assert image_info.is_loopback(name) is local


def test_descriptions_of_images_by_all_engines_are_understood() -> None:
    config = {"Env": ["A=b=c", "PATH=/bin"], "Entrypoint": ["e"], "Cmd": None}
    digest = "sha256:" + "b" * 64
    podman = [{"Id": "abc", "Digest": digest, "Config": config}]
    docker = [{"Id": "sha256:abc", "RepoDigests": [f"x/y@{digest}"], "Config": config}]
    for answer in (podman, docker):
        found = image_info.parse(json.dumps(answer))
        assert (found.id, found.digest) == ("abc", digest)
        assert found.env == {"A": "b=c", "PATH": "/bin"}
        assert found.defaults == ImageDefaults(("e",), ())


@pytest.mark.parametrize("answer", ["", "[]", "{}", "[1]", '[{"Config":{"Env":1}}]', "[{}]"])
def test_an_invalid_response_is_an_error_of_the_engine(answer: str) -> None:
    with pytest.raises(EngineError):
        image_info.parse(answer)


@pytest.mark.parametrize(
    ("diff", "changed"),
    [
        ("", False),
        ("A /bass\nA /bass/work\nC /etc\nA /etc/hosts\nC /run\n", False),
        ("A /in\nA /in/deep\n", False),
        ("C /etc\nA /etc/group\n", True),
        ("D /etc/hosts\n", True),
        ("A /in/deep/file\n", True),
    ],
)
def test_only_changes_of_a_command_make_an_image(diff: str, changed: bool) -> None:
    assert has_changed(diff, ["/in/deep"]) is changed


@pytest.mark.parametrize(
    "target", ["/", "/bass", "/bass/x", "/proc", "/sys/x", "/dev", "/a:b", "/a,b"]
)
def test_nothing_is_mounted_over_paths_that_the_container_needs(target: str) -> None:
    with pytest.raises(DriverError, match="mounted"):
        launcher.mount_support(PODMAN).target(target)


def test_an_image_provides_what_a_thunk_does_not_set() -> None:
    runs = ImageDefaults(("entry",), ("cmd",))
    thunk = pb.Thunk(image=pb.ThunkImage(ref=pb.ImageRef(repository="x")))
    assert resolve(thunk, image=runs).words == ("entry", "cmd")
    child = pb.Thunk(image=after(thunk), args=[string("a")], use_entrypoint=True)
    assert resolve(child, image=runs).words == ("entry", "a")
    cleared = pb.Thunk(image=after(thunk), clear_entrypoint=True)
    assert resolve(cleared, image=runs).words == ("cmd",)


ENVIRONMENT = Environment(
    root="/work", address=lambda addr: f"host:{addr.port}", secret="value of {}".format
)


def test_a_secret_may_be_a_variable_or_input_and_never_an_argument() -> None:
    secret = pb.Value(secret=pb.Secret(name="token"))
    put_together = pb.Value(array=pb.Array(values=[string("Bearer "), secret]))
    env = [
        pb.Binding(symbol="AUTH", value=put_together),
        pb.Binding(symbol="PLAIN", value=string("x")),
    ]
    command = resolve(sh("true", env=env, stdin=[secret]), environment=ENVIRONMENT)
    assert command.secret_env == {"AUTH": "Bearer value of token"}
    assert command.env == {"PLAIN": "x"}
    assert command.stdin == b'"value of token"\n'
    with pytest.raises(DriverError, match="can't be an argument"):
        resolve(sh("true", secret), environment=ENVIRONMENT)


FAKE = """#!/bin/sh
test "$1" = --log-level=error && shift
case "$1" in
info) echo '{"version":{"Version":"%(version)s"},"host":{"security":{"rootless":false}}}' ;;
import) cat > /dev/null ;;
*) case "$*" in
  %(works)s) echo "Error: exec: /bassloop-probe: no such file or directory" >&2; exit 127 ;;
  *) echo "Error: crun: setrlimit: not permitted" >&2; exit 126 ;;
  esac ;;
esac
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called podman, on the path alone."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "podman"
    path.touch(mode=0o755)
    return path


async def test_a_working_engine_is_used_without_changes(fake: Path) -> None:
    fake.write_text(FAKE % {"version": "5.0.1", "works": "*"})
    found = await find("podman")
    assert isinstance(found, ContainerEngine)
    assert (found.options, found.ulimits, found.network) == ((), (), "bridge")
    assert str(found) == "podman 5.0.1"


async def test_refused_options_are_replaced(fake: Path) -> None:
    fake.write_text(
        FAKE % {"version": "4.3.1", "works": "*'--network none '*--ulimit*|*slirp4netns*"}
    )
    found = await find("podman")
    assert isinstance(found, ContainerEngine)
    assert found.ulimits
    assert found.network == "slirp4netns"
    without = await find("podman", network="none")
    assert isinstance(without, ContainerEngine)
    assert without.network == "none"


@pytest.mark.parametrize(
    ("version", "works", "reason"),
    [
        ("4.3.1", "never", "crun: setrlimit: not permitted"),
        ("3.4.0", "*", "needs 4.0 or newer"),
        ('"', "*", "can't be parsed"),
    ],
)
async def test_the_reason_why_an_engine_does_not_work_is_reported(
    fake: Path, version: str, works: str, reason: str
) -> None:
    fake.write_text(FAKE % {"version": version, "works": works})
    found = await find("podman")
    assert isinstance(found, str)
    assert reason in found


CGROUP = "crun: creating cgroup: permission denied"
RLIMIT = "runc: error setting rlimit type 7: operation not permitted"
CRUN, RUNC = ("--runtime", "crun"), ("--runtime", "runc")
CGROUPFS = ("--cgroup-manager=cgroupfs",)


async def test_the_reason_why_an_engine_is_not_used_is_short_and_followed_by_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "docker").write_text(
        f"#!/bin/sh\necho Cannot connect to the Docker daemon: {'0' * 999} >&2\nexit 1\n"
    )
    (tmp_path / "docker").chmod(0o755)
    found = str(await find("docker"))
    assert found.startswith("docker does not work here: Cannot connect to the Docker daemon: ")
    assert found.endswith("000…; start it, if you want to use it")
    assert len(found) < 250


@pytest.mark.parametrize(
    ("host", "refusal", "options"),
    [
        ({}, CGROUP, [(), CGROUPFS, CRUN, (*CRUN, *CGROUPFS), RUNC, (*RUNC, *CGROUPFS)]),
        ({"cgroupManager": "cgroupfs"}, CGROUP, [(), CRUN, RUNC]),
        ({"ociRuntime": {"path": "BIN/crun"}}, CGROUP, [(), CGROUPFS, RUNC, (*RUNC, *CGROUPFS)]),
        (
            {"cgroupManager": "cgroupfs", "ociRuntime": {"path": "BIN/crun"}},
            RLIMIT,
            [(), *[("--ulimit",)] * 3, RUNC, *[(*RUNC, "--ulimit")] * 3],
        ),
    ],
)
async def test_an_engine_that_refuses_containers_is_only_asked_again_with_what_may_help(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: dict[str, object],
    refusal: str,
    options: list[tuple[str, ...]],
) -> None:
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    info = {"version": {"Version": "5.0"}, "host": {"security": {"rootless": True}, **host}}
    script = f"""#!/bin/sh
case "$*" in
*" info "*) echo '{json.dumps(info)}' ;;
*" run "*) echo "$*" >> {calls}; echo '{refusal}' >&2; exit 126 ;;
esac
"""
    for name in ("podman", "crun", "runc"):
        (folder / name).write_text(script.replace("BIN", str(folder)))
        (folder / name).chmod(0o755)
    tried: list[str] = []
    found = await find(on_try=tried.append)
    assert found == f"podman does not work here: {refusal}; docker is not installed"
    assert tried == ["podman"]
    asked = []
    for line in calls.read_text().splitlines():
        words = line.replace(f"{folder}/", "").split()
        wanted = {"--runtime", "crun", "runc", *CGROUPFS, "--ulimit"}
        asked.append(tuple(dict.fromkeys(word for word in words if word in wanted)))
    assert asked == options


async def test_a_probe_that_is_cancelled_is_removed(fake: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    os.mkfifo(tmp_path / "started")
    fake.write_text(
        f'#!/bin/sh\necho "$*" >> {calls}\n'
        f'case "$*" in *" run "*) echo > {tmp_path}/started; exec sleep 600 ;; esac\n'
    )
    engine = ContainerEngine(str(fake), "podman")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(try_limits, engine, CommandLimits())
        await trio.Path(tmp_path / "started").read_text()
        nursery.cancel_scope.cancel()
    started, removed = calls.read_text().splitlines()
    name = started.partition("--name ")[2].partition(" ")[0]
    assert name.startswith(f"bassloop-probe-{os.getpid()}-")
    assert removed == f"--log-level=error rm --force --volumes --time 0 --ignore {name}"


ROOTLESS = '{"host": {"cgroupVersion": "%s", "cgroupControllers": %s}}'


@pytest.mark.parametrize(
    ("version", "controllers", "missing"),
    [("v1", "[]", "memory and pids"), ("v2", '["cpu", "memory"]', "for pids"),
     ("v2", '["cpu", "memory", "pids"]', None)],
)  # fmt: skip
async def test_limits_that_would_be_ignored_are_reported(
    fake: Path, version: str, controllers: str, missing: str | None
) -> None:
    fake.write_text(
        f"#!/bin/sh\ncase \"$*\" in *info*) echo '{ROOTLESS % (version, controllers)}' ;; "
        '*) echo "exec: /bassloop-probe: no such file" >&2; exit 127 ;; esac\n'
    )
    engine = ContainerEngine(str(fake), "podman", rootless=True)
    limits = CommandLimits(memory=64 << 20, pids=20)
    if missing is None:
        await try_limits(engine, limits)
    else:
        with pytest.raises(EngineError, match=missing):
            await try_limits(engine, limits)


async def test_certificates_in_an_image_are_read_up_to_a_limit_in_a_container_of_the_runners(
    fake: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    fake.write_text(
        f'#!/bin/sh\necho "$*" >> {said}\nfor last; do :; done\ncase "$*" in\n'
        f'*"{BUNDLES[0]}"*) head -c {MAX_BUNDLE + 1} /dev/zero > "$last" ;;\n'
        f'*"{BUNDLES[1]}"*) echo theirs > "$last" ;;\nesac\n'
    )
    engine = ContainerEngine(str(fake), "podman")
    binds = await trust_mounts(engine, "image", "bassloop-session", "owner", b"ours", tmp_path)
    assert [bind.target for bind in binds if bind.target in BUNDLES] == [BUNDLES[1]]
    assert [bind.source.read_bytes() for bind in binds[1:]] == [b"theirs\nours"] * 2
    created, *_, removed = said.read_text().splitlines()
    assert "create --name bassloop-session-look-" in created
    assert "--label bassloop.state=owner" in created
    assert removed.startswith("--log-level=error rm --force")


async def test_unpacking_a_huge_archive_stops_when_the_call_is_cancelled(
    tmp_path: Path,
) -> None:
    manifest = [{"Config": "config.json", "RepoTags": ["a:1"], "Layers": ["layer.tar"]}]
    with tarfile.open(tmp_path / "small.tgz", "w:gz") as tar:
        for name, content in (
            ("config.json", b"{}"),
            ("layer.tar", bytes(16 << 20)),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    called = 0

    def check() -> None:
        nonlocal called
        called += 1
        if called == 2:
            trio.from_thread.run_sync(scope.cancel)
        trio.from_thread.check_cancelled()

    words = (
        tmp_path / "small.tgz",
        tmp_path / "image.tar",
        ImageSelector("1", "amd64"),
        "ours:key",
    )
    with trio.CancelScope() as scope:
        await trio.to_thread.run_sync(import_archive, *words, check)
    assert scope.cancelled_caught
    assert called == 2
    await trio.to_thread.run_sync(import_archive, *words)
    with tarfile.open(tmp_path / "image.tar") as made:
        assert [each.name for each in made] == ["config.json", "1.tar", "manifest.json"]


def image_archive(layer: bytes) -> bytes:
    """Return what `docker save` writes of an image, with a member that is its layer."""
    manifest = json.dumps([{"Config": "c", "RepoTags": ["a:1"], "Layers": ["a"]}]).encode()
    parts = [
        header(name, tarfile.REGTYPE, len(content)) + padded(content)
        for name, content in (("c", b"{}"), ("manifest.json", manifest))
    ]
    return b"".join(parts) + layer


@pytest.mark.parametrize(
    "archive",
    [
        *(pytest.param(image_archive(layer), id=name) for name, layer in ATTACKS.items()),
        pytest.param(image_archive(header("../../a", tarfile.REGTYPE)), id="a name that leads out"),
        pytest.param(image_archive(header("/a", tarfile.REGTYPE)), id="an absolute name"),
        pytest.param(image_archive(header("a", tarfile.FIFOTYPE)), id="a pipe"),
        pytest.param(image_archive(header("a", tarfile.CHRTYPE)), id="a device"),
        pytest.param(
            image_archive(header("a", tarfile.REGTYPE, 1_000)), id="a layer that is cut off"
        ),
        pytest.param(gzip.compress(bytes(1_000_000))[:-500], id="compressed, and cut off"),
        pytest.param(
            gzip.compress(image_archive(b""))[:40] + bytes(100), id="compressed, and broken"
        ),
        pytest.param(b"\x1f\x8bnonsense", id="nearly compressed"),
        pytest.param(b"\xfd7zXZ\0nonsense", id="nearly compressed, otherwise"),
        pytest.param(
            # Compressed only when it's used: that takes seconds.
            lambda: gzip.compress(header("x", tarfile.XHDTYPE, 1 << 28) + bytes(1 << 28), 1),
            id="a header of 256 MiB",
        ),
        pytest.param(
            header("index.json", tarfile.REGTYPE, 50_000) + padded(b"[" * 50_000),
            id="a document of lists",
        ),
    ],
)
def test_a_malicious_archive_is_refused_as_an_image(
    archive: bytes | Callable[[], bytes], tmp_path: Path
) -> None:
    archive = archive if isinstance(archive, bytes) else archive()
    (tmp_path / "given.tar").write_bytes(archive)
    began = time.process_time()
    with pytest.raises(DriverError):
        import_archive(
            tmp_path / "given.tar", tmp_path / "image.tar", ImageSelector("1", "amd64"), "ours:key"
        )
    assert time.process_time() - began < SECONDS
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) < len(archive) + 100_000
