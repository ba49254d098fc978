"""The runner owner's secrets: kept here, given to the thunks that may have them, hidden in what is sent.

store      names, rules and values, in a file for its owner alone or in the system's keyring
rules      which repositories a secret is for
granted    what one call may have
revealed   files in memory with a secret in them, while a command runs
forms      the forms in which a value may be printed
mask       hides them
"""

from __future__ import annotations

from bassloop.runner.secrets.granted import Granted, Secrets
from bassloop.runner.secrets.mask import Mask, Masked
from bassloop.runner.secrets.revealed import Revealed
from bassloop.runner.secrets.store import Entry, SecretError, SecretStore

__all__ = [
    "Entry",
    "Granted",
    "Mask",
    "Masked",
    "Revealed",
    "SecretError",
    "SecretStore",
    "Secrets",
]
