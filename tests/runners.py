"""Options of runners that tests start: for the host, without anything of whoever runs the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.runner import RunnerOptions

if TYPE_CHECKING:
    from pathlib import Path

    import asyncssh


def host_runner(
    login: str, key: asyncssh.SSHKey, folder: Path, *, known_host: str, port: int
) -> RunnerOptions:
    """Return the options of a runner of a user, who dials in at a port of 127.0.0.1.

    Args:
        folder: exists, and is the runner's own.
        known_host: the line of a `known_hosts` file.
    """
    identity, known_hosts = folder / "id", folder / "known_hosts"
    identity.touch(mode=0o600)
    identity.write_bytes(key.export_private_key())
    known_hosts.write_text(f"{known_host}\n")
    return RunnerOptions(
        login=login,
        host="127.0.0.1",
        port=port,
        identities=(identity,),
        known_hosts=known_hosts,
        state_dir=folder / "runner",
        use_agent=False,
        default_identities=False,
        sandbox=False,
        images="ignore",
        allow_foreign=True,
    )
