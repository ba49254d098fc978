"""Thunks in real containers: the same that the host driver's tests ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from bassloop.runner.call_context import CallContext
from bassloop.runner.container.container_driver import ContainerDriver, ContainerOptions
from bassloop.runner.errors import DriverError
from bassloop.wire import bass_pb2 as pb

from ..made import after, cache, file, folder, given, in_memory, mount, path_in, sh, string
from .conftest import BASE, Bench, forget

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.runner.container.container_engine import ContainerEngine

pytestmark = pytest.mark.containers


def run(script: str, *words: pb.Value, **more: object) -> pb.Thunk:
    more.setdefault("image", BASE)
    return sh(script, *words, **more)


async def test_a_command_runs_in_its_image_with_its_variables(bench: Bench) -> None:
    thunk = run(
        "env; pwd; id -u; echo $0",
        string("word"),
        env=[pb.Binding(symbol="GREETING", value=string("hello: you, =and $me"))],
    )
    said = (await bench.said(thunk)).splitlines()
    assert {"GREETING=hello: you, =and $me", "FROM_IMAGE=yes", "HOME=/root"} <= set(said)
    assert said[-3:] == ["/bass/work", "0", "word"]


async def test_only_a_command_that_names_a_reachable_address_has_the_machines_network(
    tmp_path: Path, engine: ContainerEngine
) -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(b"hello\n")
        await stream.aclose()

    port = listener.socket.getsockname()[1]
    address = f"127.0.0.1:{port}"
    opened = ContainerDriver.open(tmp_path / "state", engine, ContainerOptions(reachable=address))
    async with trio.open_nursery() as nursery, opened as driver:
        nursery.start_soon(trio.serve_listeners, greet, [listener])
        bench = Bench(driver)
        naming = run(f"nc -w 120 127.0.0.1 {port} # {address}")
        assert await bench.said(naming) == "hello\n"
        assert (
            await bench.said(run(f"nc -w 120 127.0.0.1 {port}", image=after(naming))) == "hello\n"
        )
        with pytest.raises(DriverError, match="exit status 1"):
            await bench.run(run(f"nc -w 120 127.0.0.1 {port}"))
        nursery.cancel_scope.cancel()
    await forget(engine, driver)


async def test_standard_input_is_a_stream_of_json(bench: Bench) -> None:
    thunk = pb.Thunk(image=BASE, args=[string("cat")], stdin=[string("é"), string("x" * 100_000)])
    assert await bench.said(thunk) == '"é"\n"' + "x" * 100_000 + '"\n'


async def test_streams_are_kept_apart_and_a_failure_says_the_status(bench: Bench) -> None:
    for _ in range(2):
        with pytest.raises(DriverError, match="exit status 3: sh -c"):
            await bench.run(run("echo out; echo err >&2; exit 3"))
    assert bench.seen.text(1) == "out\nout\n"
    assert bench.seen.text(2) == "err\nerr\n"
    assert bench.seen.named("echo out").error.startswith("exit status 3")


async def test_output_is_reported_while_the_command_runs(bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run, run("echo first; sleep 600"))
        with trio.fail_after(120):
            await bench.seen.printed.wait()
        nursery.cancel_scope.cancel()
    assert bench.seen.text() == "first\n"


async def test_a_chain_continues_with_files_of_the_work_directory_and_of_the_system(
    bench: Bench,
) -> None:
    first = run(
        "echo one > file; echo system > /etc/changed; echo gone > /tmp/x",
        env=[pb.Binding(symbol="ONLY_HERE", value=string("x"))],
    )
    second = run(
        "echo two >> file; cat file /etc/changed; ls /tmp; echo [$ONLY_HERE]", image=after(first)
    )
    third = run("cat file /etc/changed", image=after(second))
    assert await bench.said(second) == "one\ntwo\nsystem\n[]\n"
    assert await bench.said(third) == "one\ntwo\nsystem\n"
    assert await bench.said(run("cat /etc/changed || echo none")) == "none\n"


async def test_images_that_were_removed_by_hand_are_built_again(bench: Bench) -> None:
    first = run("echo system > /etc/changed")
    output = await bench.run(first)
    key = output.path.name
    image = await bench.driver.images.left_by(output, key)
    assert image is not None
    await bench.driver.settings.engine.ask("rmi", "--force", image)
    assert await bench.said(run("cat /etc/changed", image=after(first))) == "system\n"


async def test_outputs_are_mounted_or_passed_as_arguments_and_changes_to_them_are_discarded(
    bench: Bench,
) -> None:
    made = run("mkdir -p d/deep; echo inside > d/file; echo deep > d/deep/file")
    for number in (1, 2):
        mounted = run(
            f"cat here/file /abs/deep/file; echo {number} >> here/file; echo new > here/new; ls",
            mounts=[
                mount(path_in(made, folder("d")), folder("here")),
                mount(path_in(made, folder("d")), folder("/abs")),
            ],
        )
        assert await bench.said(mounted) == "inside\ndeep\nhere\n"
        assert [path.name for path in (await bench.run(mounted)).files.iterdir()] == []
    argument = pb.Thunk(image=BASE, args=[string("cat"), given(made, file("d/file"))])
    assert await bench.said(argument) == "inside\n"
    elsewhere = pb.Thunk(
        image=BASE,
        args=[string("cat"), given(made, file("d/file"))],
        dir=pb.ThunkDir(local=pb.DirPath(path="/etc")),
    )
    assert await bench.said(elsewhere) == "inside\n"


async def test_globs_choose_what_is_mounted(bench: Bench) -> None:
    made = run("touch a.x b.y; mkdir sub; touch sub/c.x")
    thunk = run(
        "find in -type f | sort",
        mounts=[mount(path_in(made, folder(".", include=("**/*.x",))), folder("in"))],
    )
    assert await bench.said(thunk) == "in/a.x\nin/sub/c.x\n"


async def test_files_that_are_sent_with_a_thunk_exist(bench: Bench) -> None:
    tree = in_memory("fs", {"deep": {"b.txt": b"b"}})
    one = in_memory("one.txt", b"one")
    thunk = run(
        "cat in/deep/b.txt /etc/one; ls",
        mounts=[mount(tree, folder("in")), mount(one, file("/etc/one"))],
    )
    assert await bench.said(thunk) == "boneinB\n".replace("inB", "in")


async def test_a_mount_on_the_work_directory_replaces_it(bench: Bench) -> None:
    initial = run("mkdir dir; echo foo > dir/foo")
    remount = run("touch bar", mounts=[mount(path_in(initial, folder("dir")), folder("."))])
    assert await bench.said(run("touch baz; ls", image=after(remount))) == "bar\nbaz\nfoo\n"


async def test_the_working_directory_is_created(bench: Bench) -> None:
    made = run("echo 1 > file")
    local = run("pwd", dir=pb.ThunkDir(local=pb.DirPath(path="some/dir")))
    assert await bench.said(local) == "/bass/work/some/dir\n"
    of_thunk = run("cat file", dir=pb.ThunkDir(thunk=path_in(made, folder("."))))
    assert await bench.said(of_thunk) == "1\n"


async def test_a_cache_is_kept_between_runs_of_one_repository(bench: Bench) -> None:
    def counting(n: int) -> pb.Thunk:
        script = f"echo {n} >> /var/c/log; cat /var/c/log"
        return run(script, mounts=[mount(cache("c", mode="LOCKED"), folder("/var/c"))])

    ours, fork = CallContext("octocat/hello"), CallContext("octocat/hello", fork=True)
    assert await bench.said(counting(1), ours) == "1\n"
    assert await bench.said(counting(2), ours) == "1\n2\n"
    assert await bench.said(counting(3), fork) == "3\n"
    named = cache("c", path=file("log"))
    thunk = pb.Thunk(image=BASE, args=[string("cat"), pb.Value(cache_path=named)])
    assert await bench.said(thunk, ours) == "1\n2\n"


async def test_a_locked_cache_is_used_by_one_at_a_time(bench: Bench) -> None:
    script = "cat c/n > n; sleep 0.2; echo $(($(cat n) + 1)) > c/n; cat c/n"
    said: list[str] = []

    async def one(number: int) -> None:
        thunk = run(
            f"touch c/n; : {number}; {script}", mounts=[mount(cache("n", "LOCKED"), folder("c"))]
        )
        said.append(await bench.said(thunk))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(one, number)
    assert sorted(said) == ["1\n", "2\n", "3\n"]


async def test_a_thunk_that_has_run_is_not_run_again(bench: Bench) -> None:
    thunk = run("date +%N; cat /proc/sys/kernel/random/uuid")
    first = await bench.said(thunk)
    assert await bench.said(thunk) == first
    assert bench.seen.named("date").cached


async def test_equal_thunks_at_the_same_time_run_once(bench: Bench) -> None:
    thunk = run("sleep 0.3; cat /proc/sys/kernel/random/uuid")
    said: list[str] = []

    async def one() -> None:
        said.append(await bench.said(thunk))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(one)
    assert len(set(said)) == 1


async def test_a_fork_never_gets_outputs_of_its_base_repository(bench: Bench) -> None:
    thunk = run("cat /proc/sys/kernel/random/uuid")
    ours = await bench.said(thunk, CallContext("octocat/hello"))
    assert await bench.said(thunk, CallContext("octocat/hello", fork=True)) != ours


async def test_an_image_name_that_now_means_another_image_makes_another_thunk(bench: Bench) -> None:
    thunk = run("cat /proc/sys/kernel/random/uuid; cat /etc/v || true")
    first = await bench.said(thunk)
    ask = bench.driver.settings.engine.ask
    name = "localhost/base:bassloop-tests"
    before = (await ask("image", "inspect", "--format", "{{.Id}}", name)).strip()
    output = await bench.run(run("echo 2 > /etc/v"))
    image = await bench.driver.images.left_by(output, output.path.name)
    assert image
    await ask("tag", image, name)
    try:
        assert await bench.said(thunk) != first
    finally:
        await ask("tag", before, name)
    assert await bench.said(thunk) == first


async def test_an_image_has_a_default_command_that_a_thunk_may_override(bench: Bench) -> None:
    image = pb.Thunk(image=BASE)
    assert await bench.said(image) == "from the image\n"
    set_here = pb.Thunk(image=BASE, entrypoint=["echo", "hello"], default_args=["you"])
    assert await bench.said(set_here) == "hello you\n"
    with_it = pb.Thunk(image=after(set_here), args=[string("me")], use_entrypoint=True)
    assert await bench.said(with_it) == "hello me\n"


@pytest.mark.parametrize("target", ["/proc/x", "/", "/bass/work", "/sys", "/a:b", "../x"])
async def test_nothing_is_mounted_over_a_dangerous_path(bench: Bench, target: str) -> None:
    thunk = run("true", mounts=[mount(in_memory("f", b""), file(target))])
    with pytest.raises(DriverError, match="mount"):
        await bench.run(thunk)


async def test_a_link_that_a_command_left_is_not_followed_out_of_its_folder(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b").write_text("keep")
    thunk = run(
        f"mv a x; ln -s {tmp_path}/outside a",
        mounts=[mount(in_memory("b", b"1"), file("a/b"))],
    )
    await bench.run(thunk)
    assert (tmp_path / "outside" / "b").read_text() == "keep"
    leads_out = run("cat in", mounts=[mount(path_in(thunk, file("a/b")), file("in"))])
    with pytest.raises(DriverError, match="leads"):
        await bench.run(leads_out)


async def test_paths_of_the_machine_are_refused(bench: Bench) -> None:
    host = pb.HostPath(context="/etc", path=file("passwd"))
    with pytest.raises(DriverError, match="owner does not let"):
        await bench.run(run("cat in", mounts=[mount(host, file("in"))]))


async def test_an_unknown_image_is_reported_by_name(bench: Bench) -> None:
    image = pb.ThunkImage(ref=pb.ImageRef(repository="127.0.0.1:1/none", tag="1"))
    with pytest.raises(DriverError, match=r"127\.0\.0\.1:1/none:1 can't be pulled"):
        await bench.run(run("true", image=image))
    assert bench.seen.named("image 127.0.0.1:1/none:1").error
