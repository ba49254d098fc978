"""Thunks, and a driver's reports about them."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from bassloop.wire import bass_pb2 as pb
from bassloop.wire import progrock_pb2 as progrock

IMAGE = pb.ThunkImage(ref=pb.ImageRef(repository="alpine", platform=pb.Platform(os="linux")))


def string(text: str) -> pb.Value:
    return pb.Value(string=pb.String(value=text))


def sh(script: str, *words: pb.Value, image: pb.ThunkImage = IMAGE, **more) -> pb.Thunk:
    """`sh -c script words…` in a container."""
    program = pb.Value(command_path=pb.CommandPath(name="sh"))
    return pb.Thunk(image=image, args=[program, string("-c"), string(script), *words], **more)


def after(thunk: pb.Thunk) -> pb.ThunkImage:
    return pb.ThunkImage(thunk=thunk.SerializeToString())


def file(path: str) -> pb.FilesystemPath:
    return pb.FilesystemPath(file=pb.FilePath(path=path))


def folder(path: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()):
    return pb.FilesystemPath(dir=pb.DirPath(path=path, include=include, exclude=exclude))


def path_in(thunk: pb.Thunk, path: pb.FilesystemPath) -> pb.ThunkPath:
    return pb.ThunkPath(thunk=thunk.SerializeToString(), path=path)


def given(thunk: pb.Thunk, path: pb.FilesystemPath) -> pb.Value:
    return pb.Value(thunk_path=path_in(thunk, path))


def mount(source, target: pb.FilesystemPath) -> pb.ThunkMount:
    """A mount of a thunk's path, of files in memory, or of a cache."""
    kinds = {
        pb.ThunkPath: "thunk",
        pb.LogicalPath: "logical",
        pb.CachePath: "cache",
        pb.Secret: "secret",
        pb.HostPath: "host",
    }
    return pb.ThunkMount(source=pb.ThunkMountSource(**{kinds[type(source)]: source}), target=target)


def in_memory(name: str, content: bytes | dict) -> pb.LogicalPath:
    """A file, or a directory of them, that travels with the message."""
    if isinstance(content, bytes):
        return pb.LogicalPath(file=pb.LogicalPath.File(name=name, content=content))
    entries = [in_memory(each, inner) for each, inner in content.items()]
    return pb.LogicalPath(dir=pb.LogicalPath.Dir(name=name, entries=entries))


def cache(name: str, mode: str = "SHARED", path: pb.FilesystemPath | None = None) -> pb.CachePath:
    return pb.CachePath(id=name, path=path or folder("."), concurrency=f"CONCURRENCY_MODE_{mode}")


@dataclass(eq=False)
class Recorder:
    """Collects progress, as the loop would."""

    vertexes: dict[str, progrock.Vertex] = field(default_factory=dict)
    history: list[progrock.Vertex] = field(default_factory=list)
    logs: list[progrock.VertexLog] = field(default_factory=list)
    printed: trio.Event = field(default_factory=trio.Event)

    async def __call__(self, update: progrock.StatusUpdate) -> None:
        for vertex in update.vertexes:
            self.vertexes[vertex.id] = vertex
            self.history.append(progrock.Vertex.FromString(vertex.SerializeToString()))
        self.logs.extend(update.logs)
        if update.logs:
            self.printed.set()

    def text(self, stream: int = 1) -> str:
        return b"".join(log.data for log in self.logs if log.stream == stream).decode()

    def named(self, name: str) -> progrock.Vertex:
        [found] = [each for each in self.vertexes.values() if name in each.name]
        return found
