"""How a script's thunks are run, as its caller wants it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How a script's thunks are run.

    Args:
        sandbox: whether commands are contained by bubblewrap: yes, no, or where it works here.
        state_dir: where outputs are kept; by default in the user's cache directory.
    """

    sandbox: bool | None = None
    state_dir: Path | None = None
