"""Images: out of archives and Dockerfiles, into archives, and to and from a registry on loopback."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from bassloop.runner.cache_pruning import prune
from bassloop.runner.call_context import LOCAL, CallContext
from bassloop.runner.container.container_driver import ContainerDriver, ContainerOptions
from bassloop.runner.container.image_store import OwnImages
from bassloop.runner.engine.thunk_driver import tar_of
from bassloop.runner.errors import DriverError
from bassloop.wire import bass_pb2 as pb

from ..made import Recorder, after, file, folder, in_memory, path_in, string
from .conftest import BASE, Bench, forget
from .test_run import run

if TYPE_CHECKING:
    from pathlib import Path

    from bassloop.runner.container.container_engine import ContainerEngine

pytestmark = pytest.mark.containers

LINUX = pb.Platform(os="linux")


async def archive_of(bench: Bench, thunk: pb.Thunk) -> bytes:
    out = io.BytesIO()

    async def give(data: bytes) -> None:
        out.write(data)

    await bench.driver.export(thunk, LOCAL, bench.seen, give)
    return out.getvalue()


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {
            each.name: tar.extractfile(each).read() if each.isreg() else b""  # type: ignore[union-attr]
            for each in tar
        }


def config_of(archive: bytes) -> dict[str, Any]:
    found = members(archive)
    [manifest] = json.loads(found["manifest.json"])
    return json.loads(found[manifest["Config"]])["config"]


def loaded(content: bytes, tag: str | None = None) -> pb.ThunkImage:
    given = pb.ImageBuildInput(logical=in_memory("image.tar", content))
    return pb.ThunkImage(archive=pb.ImageArchive(platform=LINUX, file=given, tag=tag))


async def test_an_image_is_exported_and_read_in_again(bench: Bench) -> None:
    made = run(
        "echo hello > /hello; mkdir /many; touch /many/a",
        env=[pb.Binding(symbol="NOT_KEPT", value=string("x"))],
    )
    thunk = pb.Thunk(
        image=after(made),
        entrypoint=["cat"],
        default_args=["/hello"],
        labels=[pb.Binding(symbol="made.by", value=string('a "test"'))],
        ports=[pb.ThunkPort(name="http", port=8000)],
    )
    archive = await archive_of(bench, thunk)
    assert {"oci-layout", "index.json", "manifest.json", "blobs", "blobs/sha256"} <= set(
        members(archive)
    )
    assert config_of(archive) == {
        "Env": ["FROM_IMAGE=yes"],
        "Entrypoint": ["cat"],
        "Cmd": ["/hello"],
        "Labels": {"made.by": 'a "test"'},
        "ExposedPorts": {"8000/tcp": {}},
    }
    assert b"NOT_KEPT" not in archive
    assert await bench.said(pb.Thunk(image=loaded(archive))) == "hello\n"
    assert await bench.said(run("ls /many", image=loaded(archive))) == "a\n"


async def test_a_saved_image_is_loaded_by_its_tag_and_replaces_no_other(
    bench: Bench, engine: ContainerEngine, tmp_path: Path
) -> None:
    path = tmp_path / "saved.tar"
    await engine.ask("tag", "localhost/base:bassloop-tests", "localhost/other:bassloop-tests")
    try:
        await engine.ask(
            "save", "--format", "docker-archive", "-o", str(path), "localhost/other:bassloop-tests"
        )
    finally:
        await engine.ask("rmi", "localhost/other:bassloop-tests")
    content = path.read_bytes()
    assert (
        await bench.said(run("echo $FROM_IMAGE", image=loaded(content, "bassloop-tests")))
        == "yes\n"
    )
    assert await bench.driver.images.inspect("localhost/other:bassloop-tests") is None
    with pytest.raises(DriverError, match="no image with the tag 2"):
        await bench.said(run("true", image=loaded(content, "2")))


async def test_an_image_archive_may_be_an_output_of_a_thunk(
    bench: Bench, engine: ContainerEngine, tmp_path: Path
) -> None:
    path = tmp_path / "saved.tar"
    await engine.ask(
        "save", "--format", "oci-archive", "-o", str(path), "localhost/base:bassloop-tests"
    )
    given = pb.ThunkMount(
        source=pb.ThunkMountSource(logical=in_memory("image.tar", path.read_bytes())),
        target=file("in.tar"),
    )
    made = run("cp in.tar out.tar", mounts=[given])
    source = pb.ImageBuildInput(thunk=path_in(made, file("out.tar")))
    image = pb.ThunkImage(archive=pb.ImageArchive(platform=LINUX, file=source))
    assert await bench.said(run("echo $FROM_IMAGE", image=image)) == "yes\n"
    assert bench.seen.named("image of ./out.tar").inputs == [bench.seen.named("cp in.tar").id]


@pytest.mark.parametrize("content", [b"", b"nonsense" * 200])
async def test_invalid_archives_are_refused(bench: Bench, content: bytes) -> None:
    with pytest.raises(DriverError, match="not an archive of an image"):
        await bench.said(run("true", image=loaded(content)))


DOCKERFILE = b"""\
FROM localhost/base:bassloop-tests AS first
WORKDIR /wd
COPY message .
RUN echo from first >> message

FROM localhost/base:bassloop-tests AS second
ARG WORD=none
ENV SET=here
RUN echo $WORD > /word
"""


def built(**more: Any) -> pb.ThunkImage:
    context = in_memory(
        "ctx", {"Dockerfile": DOCKERFILE, "message": b"hi\n", "Alt": b"FROM scratch\n"}
    )
    given = pb.ImageBuildInput(logical=context)
    return pb.ThunkImage(docker_build=pb.ImageDockerBuild(platform=LINUX, context=given, **more))


async def test_an_image_is_built_from_a_dockerfile(bench: Bench) -> None:
    assert await bench.said(run("cat /wd/message; pwd", image=built(target="first"))) == (
        "hi\nfrom first\n/bass/work\n"
    )
    args = [pb.BuildArg(name="WORD", value="sup")]
    thunk = run("cat /word; echo $SET", image=built(target="second", args=args))
    assert await bench.said(thunk) == "sup\nhere\n"
    assert bench.seen.text(1).count("sup") >= 1


async def test_no_build_uses_the_caches_of_another(bench: Bench) -> None:
    script = b"cat /c/left > /found || true; echo poison > /c/left; chown -R 7 /c/left"
    for number in (b"1", b"2"):
        context = in_memory(
            "ctx",
            {
                "Dockerfile": b"FROM localhost/base:bassloop-tests\n"
                b"RUN --mount=type=cache,id=shared,target=/c echo " + number + b"; " + script
            },
        )
        given = pb.ImageBuildInput(logical=context)
        image = pb.ThunkImage(docker_build=pb.ImageDockerBuild(platform=LINUX, context=given))
        assert await bench.said(run("cat /found; echo end", image=image)) == "end\n"


async def test_a_failing_dockerfile_is_reported_with_what_failed(bench: Bench) -> None:
    context = in_memory("ctx", {"Dockerfile": b"FROM localhost/base:bassloop-tests\nRUN exit 3\n"})
    given = pb.ImageBuildInput(logical=context)
    image = pb.ThunkImage(docker_build=pb.ImageDockerBuild(platform=LINUX, context=given))
    with pytest.raises(DriverError, match="exit status 3"):
        await bench.said(run("true", image=image))
    assert bench.seen.named("docker build").error


async def test_a_path_is_exported_as_a_tar_stream(bench: Bench) -> None:
    output = await bench.run(run("mkdir d; echo 1 > d/a; ln -s a d/link; touch b"))
    stream = b"".join([chunk async for chunk in tar_of(output, folder("d"))])
    assert members(stream) == {"a": b"1\n", "link": b""}


async def test_an_image_is_published_resolved_and_fetched(
    tmp_path: Path, engine: ContainerEngine, registry: str
) -> None:
    ref = pb.ImageRef(repository=f"{registry}/team/app", tag="1", platform=LINUX)
    thunk = run("echo published > /etc/what")
    allowed = (f"{registry}/team",)
    async with ContainerDriver.open(
        tmp_path / "one", engine, ContainerOptions(publish_to=allowed)
    ) as driver:
        published = await driver.publish(ref, thunk, LOCAL, Recorder())
        assert published.digest.startswith("sha256:")
        resolved = await driver.resolve(ref, LOCAL)
        assert resolved.image.ref.digest == published.digest
        seen = Recorder()
        output = await driver.run(run("cat /etc/what", image=resolved.image), LOCAL, seen)
        assert output.stdout.read_text() == "published\n"
        for elsewhere, scope in (
            (f"{registry}/other/app", LOCAL),
            (f"{registry}/team/app", CallContext("a/b", fork=True)),
        ):
            with pytest.raises(DriverError, match="does not let"):
                await driver.publish(pb.ImageRef(repository=elsewhere), thunk, scope, Recorder())
    await forget(engine, driver, registry)


async def test_a_local_image_is_used_without_a_registry(bench: Bench) -> None:
    resolved = await bench.driver.resolve(BASE.ref, LOCAL)
    assert resolved.image.ref.digest.startswith("sha256:")
    assert await bench.said(run("echo $FROM_IMAGE", image=resolved.image)) == "yes\n"
    with pytest.raises(DriverError, match="isn't on this runner's machine"):
        await bench.driver.resolve(pb.ImageRef(repository="localhost/none"), LOCAL)


async def test_only_images_that_the_runner_built_are_pruned(bench: Bench) -> None:
    ask = bench.driver.settings.engine.ask
    state = bench.driver.cache.folder

    async def made() -> list[str]:
        own = bench.driver.images.own_name("")
        words = ("images", "--filter", f"reference={own}*", "--format", "{{.Repository}}:{{.Tag}}")
        return [name for name in (await ask(*words)).split() if name.startswith(own)]

    first = run("head -c 3000000 /dev/zero > /big")
    second = run("ls -l /big; echo more > /more", image=after(first))
    await bench.said(second)
    await bench.said(run("true", image=built(target="first")))
    async with bench.driver.running(second, LOCAL, bench.seen) as output:
        await bench.driver.images.left_by(output, output.path.name)
        assert len(await made()) == 3
        pruned = await prune(state, 0, [OwnImages(bench.driver.settings.engine, state)])
        assert pruned.freed > 3_000_000
        assert pruned.in_use == 1
        assert await made() == [bench.driver.images.own_name(output.path.name)]
        assert await bench.said(run("cat /more", image=after(second))) == "more\n"
    await prune(state, 0, [OwnImages(bench.driver.settings.engine, state)])
    assert await made() == []
    assert await bench.driver.images.inspect("localhost/base:bassloop-tests") is not None
    assert await bench.said(run("cat /more", image=after(second))) == "more\n"
