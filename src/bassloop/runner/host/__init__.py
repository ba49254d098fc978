"""Runs thunks on the machine itself, in a sandbox where there is one."""
