"""Run thunks on the machine itself, in a sandbox if there is one."""
