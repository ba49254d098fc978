"""Signed statements about runs, how they are checked, and the journal of who did what. No I/O.

statement   the in-toto statement that a runner makes of a run
digests     of a run's log and artifacts
envelope    DSSE: what is signed, the file that a statement travels in, and whether it is about this run
sshsig      signatures by SSH keys, as `ssh-keygen -Y` makes and verifies them
journal     entries that are chained by their hashes
"""

from __future__ import annotations


class UntrustedStatement(Exception):
    """A statement or a signature can't be read, or is not what it should be. The message says why."""
