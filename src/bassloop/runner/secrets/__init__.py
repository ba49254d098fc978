"""The runner owner's secrets: kept here, given to the thunks that may have them, hidden in what is sent.

store      names, rules and values, in a file for its owner alone or in the system's keyring
rules      which repositories a secret is for
granted    what one call may have
revealed   files in memory with a secret in them, while a command runs
forms      the forms in which a value may be printed
mask       hides them
"""

from __future__ import annotations

from bassloop.runner.secrets.granted import GrantedSecrets, OwnerSecrets
from bassloop.runner.secrets.mask import Mask, MaskedStream
from bassloop.runner.secrets.revealed import SecretFiles
from bassloop.runner.secrets.store import SecretEntry, SecretError, SecretStore

__all__ = [
    "GrantedSecrets",
    "Mask",
    "MaskedStream",
    "OwnerSecrets",
    "SecretEntry",
    "SecretError",
    "SecretFiles",
    "SecretStore",
]
