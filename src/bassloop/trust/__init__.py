"""Make and verify signed statements about runs, and the journal of who did what. No I/O.

statement   the in-toto statement that a runner makes about a run
digests     the digests of a run's log and artifacts
envelope    DSSE: what is signed, the format of signed statements, and matching one with its run
sshsig      signatures by SSH keys, in the format of `ssh-keygen -Y`
journal     the hash chain of journal entries
"""

from __future__ import annotations


class UntrustedStatement(Exception):
    """A statement or a signature is malformed or wrong. The message gives the reason."""
