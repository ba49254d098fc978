"""Run thunks: what host and container execution share."""
