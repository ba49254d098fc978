"""Make and verify signed statements about runs. No I/O.

statement   the in-toto statement that a runner makes about a run, and the digests of the run's log and artifacts
envelope    DSSE: the signed bytes, the format of signed statements, and matching one with its run
sshsig      signatures by SSH keys, in the format of `ssh-keygen -Y`
"""

from __future__ import annotations


class UntrustedStatement(Exception):
    """A statement or a signature is malformed or wrong. The message gives the reason."""
