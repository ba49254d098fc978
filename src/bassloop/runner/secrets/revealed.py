"""Files with a secret in them, in memory where there is such a place, while a command runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bassloop.runner.secrets.granted import GrantedSecrets


@dataclass(eq=False)
class SecretFiles:
    """The secrets of one command, while it runs. Made with :meth:`open`."""

    granted: GrantedSecrets
    folder: Path
    _files: dict[str, Path] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(cls, granted: GrantedSecrets, memory: Path) -> Iterator[SecretFiles]:
        """A place for them in `memory`, which is made; gone afterwards."""
        memory.mkdir(exist_ok=True, mode=0o700)
        folder = Path(tempfile.mkdtemp(dir=memory))
        try:
            yield cls(granted, folder)
        finally:
            shutil.rmtree(folder)

    def file(self, name: str) -> Path:
        """A file with a secret in it, for its owner alone. Raises DriverError."""
        if name not in self._files:
            path = self.folder / str(len(self._files))
            content = self.granted.value(name).encode(errors="surrogateescape")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            self._files[name] = path
        return self._files[name]
