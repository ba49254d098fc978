"""The secrets of the runner's owner: store them, grant them to calls, and mask them in everything that's sent."""

from __future__ import annotations

from bassloop.runner.secrets.masking import Mask, MaskedStream
from bassloop.runner.secrets.owner_secrets import GrantedSecrets, OwnerSecrets, SecretFiles
from bassloop.runner.secrets.secret_store import SecretEntry, SecretError, SecretStore

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
