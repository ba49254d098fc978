"""Signed statements about runs, how they are checked, and the journal of who did what. No I/O.

statement   the in-toto statement that a runner makes of a run
log_digest  the digest of a run's log
call_digests  of log and artifacts, which both ends compute from the same messages
envelope    DSSE: what is signed, and the file that a statement travels in
sshsig      signatures by SSH keys, as `ssh-keygen -Y` makes and verifies them
verdict     whether a signed statement is about this run, and by the key that it should be by
journal     entries that are chained by their hashes
"""
