"""Variables with secrets in them, in the engine's own store while a container runs.

The engine adds them when the container starts. They are on no command line, in no layer, and the store
is a folder that is gone afterwards.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from bassloop.runner.container.engine import ContainerEngine, EngineError
from bassloop.runner.container.spec import SecretVariable
from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path


@asynccontextmanager
async def in_engine(
    engine: ContainerEngine, prefix: str, variables: Mapping[str, str], folder: Path
) -> AsyncGenerator[list[SecretVariable]]:
    """The engine knows these, while the context lasts. Raises DriverError.

    Args:
        prefix: what their names begin with.
        folder: where the engine keeps their values; in memory, and gone soon.
    """
    if variables and engine.kind == "docker":
        raise DriverError(
            "Docker would show a secret in the environment to whoever inspects the container, and leave "
            "it in what is made of it: give it as a file or on standard input, or let Podman run this"
        )
    made: list[SecretVariable] = []
    try:
        for variable, value in variables.items():
            name = f"{prefix}-{secrets.token_hex(8)}"
            words = ("secret", "create", "--driver-opts", f"path={folder}/store", name, "-")
            await engine.ask(*words, stdin=value.encode(errors="surrogateescape"))
            made.append(SecretVariable(name, variable))
        yield made
    finally:
        if made:
            with trio.CancelScope(shield=True):
                await forget(engine, [each.name for each in made])


async def names_in_engine(engine: ContainerEngine) -> list[str]:
    """The names of all that the engine has in its store. Raises EngineError."""
    if engine.kind == "docker":
        return []
    return (await engine.ask("secret", "ls", "--format", "{{.Name}}")).split()


async def forget(engine: ContainerEngine, names: list[str]) -> None:
    """Take these out of the engine's store."""
    try:
        await engine.ask("secret", "rm", *names, seconds=5)
    except EngineError:
        # Only the names stay then: the values are in a folder that is removed with this.
        return
