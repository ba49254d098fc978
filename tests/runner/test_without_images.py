"""Thunks that name an image, on a runner without an engine: they are refused, or run with a note."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bassloop.runner.errors import DriverError
from bassloop.runner.host import sandbox
from bassloop.runner.host.host_driver import HostDriver, HostOptions
from bassloop.runner.host.own_programs import OwnPrograms, caller_path
from bassloop.wire import bass_pb2 as pb
from bassloop.wire.conventions import unused_images

from .made import after, cache, folder, mount, sh
from .test_host_driver import Bench

if TYPE_CHECKING:
    from pathlib import Path


def names(bench: Bench) -> list[str]:
    return [vertex.name for update in bench.updates for vertex in update.vertexes]


async def test_an_unused_image_is_shown_as_a_step_even_if_the_run_was_cached(
    tmp_path: Path,
) -> None:
    first = sh("echo one")
    second = sh("echo two", image=after(first))
    for _ in range(2):
        async with HostDriver.open(tmp_path / "state") as driver:
            bench = Bench(driver)
            await bench.run(second)
            assert unused_images(names(bench)) == ["alpine"]


async def test_the_image_for_fetching_files_does_not_count_as_an_image_of_the_check(
    tmp_path: Path,
) -> None:
    image = pb.ThunkImage(ref=pb.ImageRef(repository="alpine/git"))
    version = pb.Thunk(
        image=image, args=[pb.Value(string=pb.String(value=word)) for word in ("git", "version")]
    )
    async with HostDriver.open(tmp_path / "state", HostOptions(refuse_images=True)) as driver:
        bench = Bench(driver)
        await bench.run(version)
        assert unused_images(names(bench)) == []
        with pytest.raises(DriverError, match="needs the image alpine/git"):
            await bench.run(sh("true", image=image))


async def test_a_runner_may_refuse_images(tmp_path: Path) -> None:
    async with HostDriver.open(tmp_path / "state", HostOptions(refuse_images=True)) as driver:
        with pytest.raises(DriverError, match=r"needs the image alpine.*--images ignore"):
            await Bench(driver).run(sh("true"))
        await Bench(driver).run(sh("true", image=pb.ThunkImage()))


async def test_a_home_folder_lasts_for_one_chain_only(tmp_path: Path) -> None:
    async with HostDriver.open(tmp_path / "state") as driver:
        bench = Bench(driver)
        tool = "mkdir -p ~/.local/bin; echo 'echo found' > ~/.local/bin/tool; chmod +x ~/.local/bin/tool"
        installed = sh(tool)
        assert await bench.said(sh("tool", image=after(installed))) == "found\n"
        with pytest.raises(DriverError, match="exit status 127"):
            await bench.run(sh("tool"))


async def test_an_unavailable_cache_is_left_out_and_reported(tmp_path: Path) -> None:
    cache = pb.CachePath(id="pip", path=folder("."))
    async with HostDriver.open(tmp_path / "state") as driver:
        bench = Bench(driver)
        await bench.run(sh("true", mounts=[mount(cache, folder("/root/.cache/pip"))]))
        logs = b"".join(log.data for update in bench.updates for log in update.logs)
        assert b"the cache at /root/.cache/pip can't be used on this machine" in logs


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ("/root/.cache/pip", f"{sandbox.HOME}/.cache/pip"),
        ("/usr/local/cargo/no-such-folder", None),
        ("/go/pkg/mod", f"{sandbox.HOME}/go/pkg/mod"),
        ("/usr/local/no-such-folder", None),
        ("/data/models", "/data/models"),
    ],
)
def test_a_sandbox_has_the_caches_of_images_where_its_programs_look(
    wanted: str, place: str | None
) -> None:
    assert sandbox.MOUNT_SUPPORT.cache_target(wanted) == place


def test_commands_may_use_toolchains_and_the_way_to_the_network(tmp_path: Path) -> None:
    for name in (".cargo/bin", ".rustup", ".ssh", ".venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    environ = {
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}/.venv/bin:{tmp_path}/.cargo/bin:{tmp_path}/bin:/usr/local/go/bin:/usr/bin",
        "VIRTUAL_ENV": str(tmp_path / ".venv"),
        "HTTPS_PROXY": "http://proxy:3128",
        "TOKEN": "secret",
    }
    own = OwnPrograms.of(environ, ("/usr",))
    assert own.folders == (tmp_path / ".cargo/bin", tmp_path / ".rustup")
    assert own.path == (f"{tmp_path}/.cargo/bin", "/usr/local/go/bin", "/usr/bin")
    assert own.variables == {
        "HTTPS_PROXY": "http://proxy:3128",
        "RUSTUP_HOME": str(tmp_path / ".rustup"),
    }
    assert ".venv" not in caller_path(environ)
    assert OwnPrograms.of({}) == OwnPrograms()


MANAGED = """#!/bin/sh -e
cp "$PYENV_ROOT/versions/1/greet" "$PYENV_ROOT/shims/greet"
! touch "$PYENV_ROOT/versions/1/changed" 2>/dev/null
"""
"""The script that a version manager runs after an installation."""


@pytest.mark.containers
async def test_a_version_manager_can_write_its_shims_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "home" / ".pyenv"
    for program, text in (("shims/install", MANAGED), ("versions/1/greet", "#!/bin/sh\necho hi\n")):
        file = root / program
        file.parent.mkdir(parents=True)
        file.write_text(text)
        file.chmod(0o755)
    environ = {"HOME": str(tmp_path / "home"), "PATH": f"{root}/shims:/usr/bin:/bin"}
    own = OwnPrograms.of(environ, sandbox.SYSTEM)
    box = await sandbox.find()
    async with HostDriver.open(
        tmp_path / "state", HostOptions(sandbox=box, own_programs=own)
    ) as driver:
        assert await Bench(driver).said(sh("install; greet")) == "hi\n"
    assert [each.name for each in (root / "shims").iterdir()] == ["install"]


@pytest.mark.parametrize("is_contained", [False, pytest.param(True, marks=pytest.mark.containers)])
async def test_a_program_that_an_earlier_thunk_installed_in_its_home_is_found(
    tmp_path: Path, is_contained: bool
) -> None:
    install = sh(
        "mkdir -p ~/.local/bin; cd ~/.local/bin; printf '#!/bin/sh\necho hi\n' >greet; "
        "chmod +x greet; ln -s greet linked; touch data"
    )

    def named(program: str) -> pb.Thunk:
        return pb.Thunk(
            image=after(install), args=[pb.Value(command_path=pb.CommandPath(name=program))]
        )

    box = await sandbox.find() if is_contained else None
    async with HostDriver.open(tmp_path / "state", HostOptions(sandbox=box)) as driver:
        bench = Bench(driver)
        assert await bench.said(named("greet")) == "hi\n"
        assert await bench.said(named("linked")) == "hi\n"
        with pytest.raises(DriverError, match="there is no command data"):
            await bench.run(named("data"))


@pytest.mark.containers
async def test_a_script_in_a_sandbox_can_list_the_installed_debian_packages(
    tmp_path: Path,
) -> None:
    async with HostDriver.open(
        tmp_path / "state", HostOptions(sandbox=await sandbox.find())
    ) as driver:
        script = "! command -v dpkg >/dev/null || dpkg -s dpkg >/dev/null && echo known"
        assert await Bench(driver).said(sh(script)) == "known\n"


def test_a_version_manager_finds_the_versions_that_its_user_chose(tmp_path: Path) -> None:
    (tmp_path / ".asdf/shims").mkdir(parents=True)
    own = OwnPrograms.of({"HOME": str(tmp_path)})
    assert (own.shims, own.files) == ((tmp_path / ".asdf/shims",), ())
    (tmp_path / ".tool-versions").write_text("python 3.13.1\n")
    own = OwnPrograms.of({"HOME": str(tmp_path)})
    assert own.files == (tmp_path / ".tool-versions",)
    assert own.variables == {"ASDF_DATA_DIR": str(tmp_path / ".asdf")}


@pytest.mark.containers
@pytest.mark.parametrize(
    "script",
    [
        "ln -s /oldroot{outside}/made ~/.tool-versions",
        "ln -s {outside}/made ~/.rustup",
        "ln -s {outside} ~/.rustup",
        "mkdir ~/.rustup; ln -s {outside} ~/.rustup/toolchains",
        "mkdir -p ~/.rustup/toolchains; ln -s {outside} ~/.rustup/toolchains/stable",
        "mkdir ~/.rustup; ln -s {outside}/made ~/.rustup/settings.toml",
        "mkdir -p ~/.rustup/toolchains/stable/bin; cd ~/.rustup/toolchains/stable/bin; "
        "ln -s /oldroot{outside}/made rustc",
        "ln -s /oldroot{outside} ~/go",
    ],
)
async def test_a_link_in_the_home_leads_no_mount_out_of_the_sandbox(
    tmp_path: Path, script: str
) -> None:
    outside, user = tmp_path / "outside", tmp_path / "home"
    for name in (".asdf/shims", ".cargo/bin", ".rustup/toolchains/stable/bin"):
        (user / name).mkdir(parents=True)
    for name in (".tool-versions", ".rustup/settings.toml", ".rustup/toolchains/stable/bin/rustc"):
        (user / name).write_text("mine\n")
    outside.mkdir()
    box = await sandbox.find()
    first = sh(script.format(outside=outside))
    then = sh("true", image=after(first), mounts=[mount(cache("c"), folder("/go/pkg"))])
    async with HostDriver.open(tmp_path / "state", HostOptions(sandbox=box)) as driver:
        await Bench(driver).run(first)
    options = HostOptions(
        sandbox=box, own_programs=OwnPrograms.of({"HOME": str(user)}, sandbox.SYSTEM)
    )
    async with HostDriver.open(tmp_path / "state", options) as driver:
        with suppress(DriverError):
            await Bench(driver).run(then)
    assert list(outside.iterdir()) == []


RUSTUP = """set -e
cd "$RUSTUP_HOME/toolchains"
cat stable/bin/rustc alias/lib/rustlib/components
echo clippy >>stable/lib/rustlib/components
mkdir -p beta/bin stable/lib/rustlib/wasm stable/share/doc/clippy
echo x >stable/bin/clippy
! (echo x >stable/bin/rustc) 2>/dev/null
! touch stable/lib/rustlib/x86_64/changed 2>/dev/null
"""
"""The script adds a component, a target and a toolchain, as rustup does, and tries to change what the user has."""


@pytest.mark.containers
async def test_what_a_command_installs_with_rustup_is_its_own(tmp_path: Path) -> None:
    rustup = tmp_path / "home" / ".rustup"
    files = {
        "bin/rustc": "rustc\n",
        "lib/rustlib/components": "cargo\n",
        "lib/rustlib/x86_64/std": "",
    }
    for name, text in files.items():
        file = rustup / "toolchains/stable" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    (rustup / "toolchains/alias").symlink_to(rustup / "toolchains/stable")
    (rustup / "settings.toml").write_text("")
    (tmp_path / "home/.cargo/bin").mkdir(parents=True)
    before = sorted(rustup.rglob("*"))
    own = OwnPrograms.of({"HOME": str(tmp_path / "home")}, sandbox.SYSTEM)
    box = await sandbox.find()
    async with HostDriver.open(
        tmp_path / "state", HostOptions(sandbox=box, own_programs=own)
    ) as driver:
        first = sh(RUSTUP)
        assert await Bench(driver).said(first) == "rustc\ncargo\n"
        later = 'cd "$RUSTUP_HOME/toolchains"; ls . stable/bin alias/lib/rustlib; cat stable/lib/rustlib/components'
        assert (await Bench(driver).said(sh(later, image=after(first)))).split() == [
            *(".:", "alias", "beta", "stable", "alias/lib/rustlib:", "components", "wasm", "x86_64"),
            *("stable/bin:", "clippy", "rustc", "cargo", "clippy"),
        ]  # fmt: skip
    assert sorted(rustup.rglob("*")) == before
    assert (rustup / "toolchains/stable/lib/rustlib/components").read_text() == "cargo\n"
