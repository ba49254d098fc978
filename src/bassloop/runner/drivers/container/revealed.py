"""Secrets on their way into a container: from the owner's store, through memory, and gone afterwards.

A secret is a variable that the engine adds when the container starts, or a file in a file system that
is in memory. It is on no command line and in no layer, and what is printed of it is hidden.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bassloop.runner.drivers.container.engine import Engine, EngineError
from bassloop.runner.drivers.container.plan import Secret
from bassloop.runner.drivers.errors import DriverError
from bassloop.runner.drivers.mask import Mask

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from bassloop.runner.identity import Scope

IN_MEMORY = Path("/dev/shm")  # noqa: S108


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the runner's owner lets which repositories have, by repository and name."""

    values: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def get(self, scope: Scope, name: str) -> str:
        """A secret's value, if this scope may have it. Raises DriverError.

        A fork has no secrets: its author decides what is done with them.
        """
        if scope.fork:
            raise DriverError(f"the secret {name} is not given to forks")
        found = self.values.get((scope.repository or "", name))
        if found is None:
            raise DriverError(
                f"the secret {name} has no value on this runner; its owner can give it one with "
                f"--secret {scope.repository or 'OWNER/REPO'}:{name}=FILE"
            )
        return found


@dataclass(eq=False)
class Revealed:
    """The secrets of one command, while it runs. Made with :meth:`open`."""

    engine: Engine
    scope: Scope
    secrets: Secrets
    folder: Path
    _files: dict[str, Path] = field(default_factory=dict)
    _values: set[str] = field(default_factory=set)

    @classmethod
    @contextmanager
    def open(
        cls, engine: Engine, scope: Scope, secrets: Secrets, beside: Path
    ) -> Iterator[Revealed]:
        """A place for them, in memory where there is one, else in `beside`; gone afterwards."""
        within = IN_MEMORY if IN_MEMORY.is_dir() else beside
        folder = Path(tempfile.mkdtemp(prefix="bassloop-", dir=within))
        try:
            yield cls(engine, scope, secrets, folder)
        finally:
            shutil.rmtree(folder)

    @property
    def mask(self) -> Mask | None:
        """Hides what was revealed; None when nothing was."""
        return Mask(self._values) if self._values else None

    def value(self, name: str) -> str:
        """A secret's value. Raises DriverError."""
        found = self.secrets.get(self.scope, name)
        self._values.add(found)
        return found

    def file(self, name: str) -> Path:
        """A file with a secret in it."""
        if name not in self._files:
            path = self.folder / str(len(self._files))
            path.touch(mode=0o600)
            path.write_text(self.value(name))
            self._files[name] = path
        return self._files[name]

    @asynccontextmanager
    async def stored(self, variables: Mapping[str, str]) -> AsyncGenerator[list[Secret]]:
        """The engine knows these, while the context lasts. Raises DriverError."""
        made: list[Secret] = []
        try:
            for variable, value in variables.items():
                name = f"bassloop-{secrets.token_hex(8)}"
                where = ("--driver-opts", f"path={self.folder}/store")
                words = ("secret", "create", *where, name, "-")
                await self.engine.ask(*words, stdin=value.encode(errors="surrogateescape"))
                made.append(Secret(name, variable))
            yield made
        finally:
            with trio.CancelScope(shield=True):
                if made:
                    await self._remove(made)

    async def _remove(self, made: list[Secret]) -> None:
        try:
            await self.engine.ask("secret", "rm", *(each.name for each in made), seconds=5)
        except EngineError:
            # Only the names stay then: the values are in a folder that is removed with this.
            return
