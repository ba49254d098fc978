"""Run thunks in containers of Podman or Docker."""
