"""Each field of `Thunk` and each method of `Runtime`: a thunk that uses it, and what must come of it.

A driver that can't do something says so; what it says is here too. `beside_go` asks the reference's
runner the same.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bassloop.wire import bass_pb2 as pb

from ..made import after, cache, file, folder, given, in_memory, mount, path_in, sh, string
from .asking import Asked

Ask = Callable[[Asked], Awaitable[str]]
LINUX = pb.Platform(os="linux")
NO_IMAGES = "there are no images on the host"


@dataclass(frozen=True)
class Case:
    """One thing that a runtime is asked.

    Args:
        of: the field or method.
        what: what is tried, in a few words.
        ask: asks, and returns what came.
        expected: what must come.
        instead: by driver, what it says instead (a regular expression) and why, for the table.
    """

    of: str
    what: str
    ask: Ask
    expected: str
    instead: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.of}: {self.what}"


CASES: list[Case] = []


def case(of: str, what: str, expected: str, **instead: tuple[str, str]) -> Callable[[Ask], Ask]:
    """Put a question on the list. `host` says it for both host drivers, `bare` for the one without a sandbox."""
    by_driver = dict(instead)
    if "host" in by_driver:
        by_driver.setdefault("sandboxed", by_driver["host"])
    if "bare" in by_driver:
        by_driver["host"] = by_driver.pop("bare")

    def add(ask: Ask) -> Ask:
        CASES.append(Case(of, what, ask, expected, by_driver))
        return ask

    return add


def env(**values: str) -> list[pb.Binding]:
    return [pb.Binding(symbol=name, value=string(value)) for name, value in values.items()]


def secret(name: str) -> pb.Value:
    return pb.Value(secret=pb.Secret(name=name))


def integer(number: int) -> pb.Value:
    return pb.Value(int=pb.Int(value=number))


# --- what runs -----------------------------------------------------------------------------------------


@case("args", "text", "a|b c|é|$x|")
async def _(asked: Asked) -> str:
    words = [string(each) for each in ("sh", "a", "b c", "é", "$x")]
    return await asked.read(sh('printf "%s|" "$@"', *words, image=asked.image))


@case("args", "numbers, and lists put together", "3|n=4|")
async def _(asked: Asked) -> str:
    together = pb.Value(array=pb.Array(values=[string("n="), integer(4)]))
    words = [string("sh"), integer(3), together]
    return await asked.read(sh('printf "%s|" "$@"', *words, image=asked.image))


@case("args", "paths of the work directory", "./some/file|./some/dir/|")
async def _(asked: Asked) -> str:
    words = [
        string("sh"),
        pb.Value(file_path=pb.FilePath(path="some/file")),
        pb.Value(dir_path=pb.DirPath(path="some/dir")),
    ]
    return await asked.read(sh('printf "%s|" "$@"', *words, image=asked.image))


@case("args", "a path of another thunk", "made\n")
async def _(asked: Asked) -> str:
    made = sh("echo made > file", image=asked.image)
    return await asked.read(sh('cat "$0"', given(made, file("file")), image=asked.image))


@case("args", "a program that another thunk has made", "made it\n")
async def _(asked: Asked) -> str:
    made = sh("printf '#!/bin/sh\necho made it\n' > run; chmod +x run", image=asked.image)
    return await asked.read(pb.Thunk(image=asked.image, args=[given(made, file("run"))]))


@case("args", "a file in memory", "in memory")
async def _(asked: Asked) -> str:
    word = pb.Value(logical_path=in_memory("f.txt", b"in memory"))
    return await asked.read(sh('cat "$0"', word, image=asked.image))


@case("stdin", "a stream of JSON", '"é"\n{"a":[1,null,true]}\n')
async def _(asked: Asked) -> str:
    values = pb.Array(
        values=[integer(1), pb.Value(null=pb.Null()), pb.Value(bool=pb.Bool(value=True))]
    )
    scope = pb.Object(bindings=[pb.Binding(symbol="a", value=pb.Value(array=values))])
    thunk = pb.Thunk(
        image=asked.image, args=[string("cat")], stdin=[string("é"), pb.Value(object=scope)]
    )
    return await asked.read(thunk)


@case("stdin", "100 kB", "100004\n")
async def _(asked: Asked) -> str:
    thunk = pb.Thunk(
        image=asked.image, args=[string("wc"), string("-c")], stdin=[string("x" * 100_001)]
    )
    return (await asked.read(thunk)).strip() + "\n"


@case("env", "of the thunk, but not of the thunk it's based on", "hello: =$you|\n")
async def _(asked: Asked) -> str:
    before = sh("true", image=asked.image, env=env(BEFORE="x"))
    thunk = sh('echo "$GREETING|$BEFORE"', image=after(before), env=env(GREETING="hello: =$you"))
    return await asked.read(thunk)


@case("env", "of the image", "yes\n", host=("^\n$", NO_IMAGES))
async def _(asked: Asked) -> str:
    return await asked.read(sh("echo $FROM_IMAGE", image=asked.image))


@case("dir", "in the work directory, created if it's missing", "/bass/work/some/dir\n",
      bare=(r"/files/some/dir\n$", "the work directory is a folder of the machine"))  # fmt: skip
async def _(asked: Asked) -> str:
    where = pb.ThunkDir(local=pb.DirPath(path="some/dir"))
    return await asked.read(sh("pwd", image=asked.image, dir=where))


@case("dir", "of another thunk's output", "made\n")
async def _(asked: Asked) -> str:
    made = sh("mkdir d; echo made > d/file", image=asked.image)
    where = pb.ThunkDir(thunk=path_in(made, folder("d")))
    return await asked.read(sh("cat file", image=asked.image, dir=where))


@case("dir", "absolute", "/etc\n")
async def _(asked: Asked) -> str:
    return await asked.read(
        sh("pwd", image=asked.image, dir=pb.ThunkDir(local=pb.DirPath(path="/etc")))
    )


@case("dir, mounts", "a folder of the machine", "refused",
      host=("^refused$", "the owner allows it with `--allow-host-path`"),
      container=("^refused$", "the owner allows it with `--allow-host-path`"))  # fmt: skip
async def _(asked: Asked) -> str:
    source = pb.HostPath(context="/etc", path=file("hostname"))
    thunk = sh("cat in", image=asked.image, mounts=[mount(source, file("in"))])
    said = await asked.failure(thunk)
    return "refused" if "--allow-host-path would" in said else said


# --- what it starts from -------------------------------------------------------------------------------


@case("image", "a name, with a tag", "ok\n")
async def _(asked: Asked) -> str:
    return await asked.read(sh("echo ok", image=asked.image))


@case("image", "another thunk: its work directory goes on", "one\ntwo\nthree\n")
async def _(asked: Asked) -> str:
    first = sh("echo one > file", image=asked.image)
    second = sh("echo two >> file", image=after(first))
    return await asked.read(sh("cat file; echo three", image=after(second)))


@case("image", "another thunk: its file system goes on", "changed\n",
      host=("^$", "only the work directory goes on: " + NO_IMAGES))  # fmt: skip
async def _(asked: Asked) -> str:
    first = sh("(echo changed > /bass/changed) 2>/dev/null; true", image=asked.image)
    return await asked.read(sh("cat /bass/changed 2>/dev/null; true", image=after(first)))


def dockerfile(asked: Asked) -> str:
    ref = asked.image.ref
    return f"FROM {ref.repository}:{ref.tag}"


@case("image", "a Dockerfile, with a target and arguments", "hi\nof the build\n",
      host=("Dockerfile, which the host driver does not have", NO_IMAGES))  # fmt: skip
async def _(asked: Asked) -> str:
    text = (
        f"{dockerfile(asked)} AS wanted\nCOPY message /message\nARG WORD=none\nRUN echo $WORD > /word\n"
        f"{dockerfile(asked)}\nRUN false\n"
    )
    context = in_memory("ctx", {"Dockerfile": text.encode(), "message": b"hi\n"})
    build = pb.ImageDockerBuild(
        platform=LINUX,
        context=pb.ImageBuildInput(logical=context),
        target="wanted",
        args=[pb.BuildArg(name="WORD", value="of the build")],
    )
    return await answer(asked, sh("cat /message /word", image=pb.ThunkImage(docker_build=build)))


@case("image", "an archive, which another thunk has exported", "exported\n",
      host=("archive, which the host driver does not have", NO_IMAGES))  # fmt: skip
async def _(asked: Asked) -> str:
    made = sh("(echo exported > /bass/what) 2>/dev/null; true", image=asked.image)
    try:
        async with asked.runtime.export(made, asked.metadata) as answers:
            content = b"".join([each async for each in answers if isinstance(each, bytes)])
    except Exception:  # noqa: BLE001  (told by the case of Export)
        content = b"none"
    given_ = pb.ImageBuildInput(logical=in_memory("image.tar", content))
    archive = pb.ImageArchive(platform=LINUX, file=given_)
    return await answer(asked, sh("cat /bass/what", image=pb.ThunkImage(archive=archive)))


async def answer(asked: Asked, thunk: pb.Thunk) -> str:
    """Return the output of a thunk, or its error."""
    try:
        return await asked.read(thunk)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the answer)
        return str(error)


@case("default_args", "of the image", "from the image\n", host=("^$", NO_IMAGES))
async def _(asked: Asked) -> str:
    return await answer(asked, pb.Thunk(image=asked.image))


@case("entrypoint", "and default_args, set by a thunk", "hello you\n")
async def _(asked: Asked) -> str:
    thunk = pb.Thunk(image=asked.image, entrypoint=["echo", "hello"], default_args=["you"])
    return await answer(asked, thunk)


@case("use_entrypoint", "args after the entrypoint of the chain", "hello me\n")
async def _(asked: Asked) -> str:
    before = pb.Thunk(image=asked.image, entrypoint=["echo", "hello"], default_args=["you"])
    return await answer(
        asked, pb.Thunk(image=after(before), args=[string("me")], use_entrypoint=True)
    )


@case("clear_entrypoint", "and clear_default_args", "nothing to run", host=("^$", NO_IMAGES))
async def _(asked: Asked) -> str:
    thunk = pb.Thunk(image=asked.image, clear_entrypoint=True, clear_default_args=True)
    said = await answer(asked, thunk)
    return "nothing to run" if "no command" in said else said


# --- what it is given ----------------------------------------------------------------------------------


@case("mounts", "a folder of another thunk; changes to it are lost", "made\nmade\n")
async def _(asked: Asked) -> str:
    made = sh("mkdir d; echo made > d/file", image=asked.image)
    source = path_in(made, folder("d"))
    said = []
    for number in (1, 2):
        thunk = sh(
            f"cat here/file; echo {number} >> here/file",
            image=asked.image,
            mounts=[mount(source, folder("here"))],
        )
        said.append(await asked.read(thunk))
    return "".join(said)


@case("mounts", "at an absolute path", "made\n",
      bare=("outside of the work directory", "needs bubblewrap, or a container"))  # fmt: skip
async def _(asked: Asked) -> str:
    made = sh("echo made > file", image=asked.image)
    at = mount(path_in(made, folder(".")), folder("/mounted"))
    return await answer(asked, sh("cat /mounted/file", image=asked.image, mounts=[at]))


@case("mounts", "only the files that patterns select", "./a.x\n./sub/c.x\n")
async def _(asked: Asked) -> str:
    made = sh("touch a.x b.y; mkdir sub; touch sub/c.x sub/no.x", image=asked.image)
    wanted = folder(".", include=("**/*.x",), exclude=("**/no.*",))
    thunk = sh(
        "cd in; find . -type f | sort",
        image=asked.image,
        mounts=[mount(path_in(made, wanted), folder("in"))],
    )
    return await asked.read(thunk)


@case("mounts", "files in memory", "deep one")
async def _(asked: Asked) -> str:
    mounts = [
        mount(in_memory("fs", {"deep": {"b": b"deep "}}), folder("in")),
        mount(in_memory("one.txt", b"one"), file("one")),
    ]
    return await asked.read(sh("cat in/deep/b one", image=asked.image, mounts=mounts))


@case("mounts", "on the work directory itself", "bar\nbaz\nfoo\n")
async def _(asked: Asked) -> str:
    made = sh("mkdir dir; touch dir/foo", image=asked.image)
    on_it = sh(
        "touch bar", image=asked.image, mounts=[mount(path_in(made, folder("dir")), folder("."))]
    )
    return await asked.read(sh("touch baz; ls", image=after(on_it)))


@case("mounts", "no part of the output", "made\n")
async def _(asked: Asked) -> str:
    thunk = sh(
        "touch made; test -e in/f",
        image=asked.image,
        mounts=[mount(in_memory("in", {"f": b"1"}), folder("in"))],
    )
    listed = sh("cd out; find . -type f | sed s,^./,,", image=asked.image,
                mounts=[mount(path_in(thunk, folder(".")), folder("out"))])  # fmt: skip
    return await asked.read(listed)


def counting(asked: Asked, number: int, mode: str) -> pb.Thunk:
    script = f"echo {number} >> c/log; cat c/log"
    at = mount(cache(f"conformance-{mode}", mode=mode), folder("c"))
    return sh(script, image=asked.image, mounts=[at])


@case("mounts", "a cache, kept between thunks", "1\n1\n2\n")
async def _(asked: Asked) -> str:
    return "".join([await asked.read(counting(asked, n, "SHARED")) for n in (1, 2)])


@case("mounts", "a cache, locked", "1\n1\n2\n")
async def _(asked: Asked) -> str:
    return "".join([await asked.read(counting(asked, n, "LOCKED")) for n in (1, 2)])


@case("mounts", "a cache, private", "1\n1\n2\n")
async def _(asked: Asked) -> str:
    return "".join([await asked.read(counting(asked, n, "PRIVATE")) for n in (1, 2)])


@case("mounts, env, stdin", "secrets, hidden in what is printed", 'it is right\n***\n"***"\n')
async def _(asked: Asked) -> str:
    thunk = sh(
        'test "$TOKEN$(cat key)" = conformance-1conformance-2 && echo it is right; echo "$TOKEN"; cat',
        image=asked.image,
        env=[pb.Binding(symbol="TOKEN", value=secret("ONE"))],
        stdin=[secret("TWO")],
        mounts=[mount(pb.Secret(name="TWO"), file("key"))],
    )
    return await answer(asked, thunk)


# --- services, rights, names ---------------------------------------------------------------------------


def server(asked: Asked) -> pb.Thunk:
    return sh(
        "exec httpd -f -p 8765",
        image=asked.image,
        mounts=[mount(in_memory("index.html", b"served\n"), file("index.html"))],
        ports=[pb.ThunkPort(name="http", port=8765)],
    )


NO_SERVICES = ("services need containers",
               "a service needs a network of its own")  # fmt: skip


@case("ports", "a service, reached at its address", "served\n", host=NO_SERVICES)
async def _(asked: Asked) -> str:
    at = pb.Value(
        thunk_addr=pb.ThunkAddr(
            thunk=server(asked).SerializeToString(), port="http", format="http://$host:$port/"
        )
    )
    return await answer(asked, sh('wget -q -O- "$0"', at, image=asked.image))


@case("tls", "a certificate for a service, which its clients trust", "pem pem pem\n",
      host=NO_SERVICES)  # fmt: skip
async def _(asked: Asked) -> str:
    service = sh(
        "for f in cert key; do head -n 1 /tls.$f | cut -c 1-10; done > index.html; exec httpd -f -p 8766",
        image=asked.image,
        ports=[pb.ThunkPort(name="http", port=8766)],
        tls=pb.ThunkTLS(cert=pb.FilePath(path="/tls.cert"), key=pb.FilePath(path="/tls.key")),
    )
    at = pb.Value(
        thunk_addr=pb.ThunkAddr(
            thunk=service.SerializeToString(), port="http", format="http://$host:$port/"
        )
    )
    script = 'wget -q -O- "$0"; head -n 1 ${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt} | cut -c 1-10'
    said = await answer(asked, sh(script, at, image=asked.image))
    return said.replace("-----BEGIN\n", "pem ").strip() + "\n" if "-----BEGIN" in said else said


@case("insecure", "rights beyond a container's", "refused",
      host=("insecure", "never"), container=("^refused$", "the owner allows it with `--allow-insecure`"))  # fmt: skip
async def _(asked: Asked) -> str:
    said = await asked.failure(sh("true", image=asked.image, insecure=True))
    return "refused" if "--allow-insecure would" in said else said


@case("labels", "make another thunk", "another")
async def _(asked: Asked) -> str:
    said = [
        await asked.read(
            sh(
                "cat /proc/sys/kernel/random/uuid",
                image=asked.image,
                labels=[pb.Binding(symbol="at", value=string(each))],
            )
        )
        for each in ("1", "2")
    ]
    return "another" if said[0] != said[1] else "the same"


# --- the methods ---------------------------------------------------------------------------------------


@case("Run", "streams in the log, and how it fails", "out|err|exit 3")
async def _(asked: Asked) -> str:
    logs = {1: b"", 2: b""}
    how = ""
    try:
        thunk = sh("echo out; echo err >&2; exit 3", image=asked.image)
        async with asked.runtime.run(thunk, asked.metadata) as answers:
            async for update in answers:
                for log in update.logs:
                    logs[log.stream] += log.data
                how = next((each.error for each in update.vertexes if each.error), how)
    except Exception as error:  # noqa: BLE001  (it is the answer)
        how = f"{how} {error}"
    status = "exit 3" if "exit status 3" in how or "exit code: 3" in how else how
    return f"{logs[1].decode().strip()}|{logs[2].decode().strip()}|{status}"


@case("Run", "a long log, whole", "200000 lines")
async def _(asked: Asked) -> str:
    said = await asked.logged(sh("seq 1 200000", image=asked.image))
    return f"{len(said.splitlines())} lines"


@case(
    "Run",
    "a thunk that ran is `cached`, and has what it needs for inputs",
    "cached, with inputs",
)
async def _(asked: Asked) -> str:
    made = sh("echo 1 > file", image=asked.image)
    thunk = sh('cat "$0"; : twice', given(made, file("file")), image=asked.image)
    await asked.read(thunk)
    vertexes = {each.id: each for update in await asked.progress(thunk) for each in update.vertexes}
    named = [each for each in vertexes.values() if "twice" in each.name]
    return (
        "cached, with inputs"
        if named and all(each.cached for each in named) and named[0].inputs
        else "; ".join(f"{each.name[:30]} cached={each.cached}" for each in named)
    )


@case("Read", "standard output alone", "out\n")
async def _(asked: Asked) -> str:
    return await asked.read(sh("echo out; echo err >&2", image=asked.image))


@case("ExportPath", "a folder as a tar stream", "a=1 sub/b=2")
async def _(asked: Asked) -> str:
    thunk = sh("mkdir -p d/sub; printf 1 > d/a; printf 2 > d/sub/b", image=asked.image)
    found = await asked.tar_of(path_in(thunk, folder("d")))
    return " ".join(f"{name}={data.decode()}" for name, data in sorted(found.items()))


@case("ExportPath", "a file as a tar stream", "a=1")
async def _(asked: Asked) -> str:
    thunk = sh("mkdir d; printf 1 > d/a", image=asked.image)
    found = await asked.tar_of(path_in(thunk, file("d/a")))
    return " ".join(f"{name.rpartition('/')[2]}={data.decode()}" for name, data in found.items())


@case("Export", "an OCI archive, with labels, ports, entrypoint and default_args",
      '{"Cmd": ["/bass/hello"], "Entrypoint": ["cat"], "ExposedPorts": {"8000/tcp": {}}, "Labels": {"by": "me"}}',
      host=("no images to export", NO_IMAGES))  # fmt: skip
async def _(asked: Asked) -> str:
    made = sh("(echo hello > /bass/hello) 2>/dev/null; true", image=asked.image)
    thunk = pb.Thunk(
        image=after(made),
        entrypoint=["cat"],
        default_args=["/bass/hello"],
        labels=[pb.Binding(symbol="by", value=string("me"))],
        ports=[pb.ThunkPort(name="http", port=8000)],
    )
    try:
        config = await asked.config(thunk)
    except Exception as error:  # noqa: BLE001  (it is the answer)
        return str(error)
    wanted = ("Cmd", "Entrypoint", "ExposedPorts", "Labels")
    return json.dumps({key: config.get(key) for key in wanted}, sort_keys=True)


@case("Resolve", "a name to a digest", "sha256",
      host=("^$", "every name will do, as images are ignored"))  # fmt: skip
async def _(asked: Asked) -> str:
    found = await asked.runtime.resolve(asked.image.ref, asked.metadata)
    return found.image.ref.digest.partition(":")[0]


@case("Publish", "to a registry that the owner allows, and from there again", "published\n",
      host=("no images to publish", NO_IMAGES))  # fmt: skip
async def _(asked: Asked) -> str:
    name = f"{asked.registry}/team/app"
    ref = pb.ImageRef(repository=name, tag="1", platform=LINUX)
    thunk = sh("(echo published > /bass/what) 2>/dev/null; true", image=asked.image)
    try:
        async with asked.runtime.publish(ref, thunk, asked.metadata) as answers:
            published = [each async for each in answers if isinstance(each, pb.ImageRef)]
    except Exception as error:  # noqa: BLE001  (it is the answer)
        return str(error)
    return await asked.read(sh("cat /bass/what", image=pb.ThunkImage(ref=published[0])))


def by_field() -> Iterator[tuple[str, list[Case]]]:
    """The cases, by what they are of, in order."""
    found: dict[str, list[Any]] = {}
    for each in CASES:
        found.setdefault(each.of, []).append(each)
    yield from found.items()
