"""Ask any runtime the same questions over gRPC, and return its answers as text."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bassloop.runtimes import RunFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bassloop.runtimes import Runtime
    from bassloop.wire import bass_pb2 as pb
    from bassloop.wire import progrock_pb2 as progrock

METADATA = {"bassloop-repository": "octocat/hello", "bassloop-fork": "false"}


@dataclass(eq=False)
class Asked:
    """A runtime, and how a case speaks with it.

    Args:
        image: the image that thunks start from: busybox, with ``FROM_IMAGE=yes`` in its environment
            and a ``CMD`` that prints ``from the image``.
        registry: where images may be pushed to, as ``HOST:PORT``; None when there is none.
    """

    runtime: Runtime
    image: pb.ThunkImage
    registry: str | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: dict(METADATA))

    async def read(self, thunk: pb.Thunk) -> str:
        """Return the thunk's standard output."""
        async with self.runtime.read(thunk, self.metadata) as answers:
            return b"".join([each async for each in answers if isinstance(each, bytes)]).decode()

    async def progress(self, thunk: pb.Thunk) -> list[progrock.StatusUpdate]:
        """All progress of running it."""
        async with self.runtime.run(thunk, self.metadata) as answers:
            return [each async for each in answers]

    async def logged(self, thunk: pb.Thunk, stream: int = 1) -> str:
        """Return the log of its streams."""
        return b"".join(
            log.data
            for update in await self.progress(thunk)
            for log in update.logs
            if log.stream == stream
        ).decode()

    async def tar_of(self, path: pb.ThunkPath) -> dict[str, bytes]:
        """The files of a path, by their names in the tar stream."""
        async with self.runtime.export_path(path, self.metadata) as answers:
            data = b"".join([each async for each in answers if isinstance(each, bytes)])
        return members(data)

    async def config(self, thunk: pb.Thunk) -> dict[str, Any]:
        """Return the command in the configuration of an exported thunk's image."""
        async with self.runtime.export(thunk, self.metadata) as answers:
            data = b"".join([each async for each in answers if isinstance(each, bytes)])
        found = members(data)

        def blob(about: Mapping[str, Any]) -> Any:
            return json.loads(found[f"blobs/{about['digest'].replace(':', '/')}"])

        about = json.loads(found["index.json"])["manifests"][0]
        while "config" not in (manifest := blob(about)):
            about = manifest["manifests"][0]
        config: dict[str, Any] = blob(manifest["config"])["config"]
        return config

    async def failure(self, thunk: pb.Thunk) -> str:
        """Return the error of a thunk."""
        try:
            await self.progress(thunk)
        except RunFailed as error:
            return str(error)
        return "it did not fail"


def members(data: bytes) -> dict[str, bytes]:
    """The files of a tar stream."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {}
        for each in tar:
            file = tar.extractfile(each) if each.isreg() else None
            if file is not None:
                found[each.name.removeprefix("./")] = file.read()
        return found
