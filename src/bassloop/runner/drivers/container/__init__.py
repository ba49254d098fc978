"""The container driver: a thunk's command in a container of Podman or Docker.

engine     the program that runs containers, and what of it works here
probe      finds that out
plan       the command line of one container
images     images by name, from archives and Dockerfiles, and what thunks have made of them
mounts     what a command is given, laid out
work       one thunk in its container
driver     all of it, as a runner uses it
"""

from __future__ import annotations

from bassloop.runner.drivers.container.driver import ContainerDriver
from bassloop.runner.drivers.container.engine import Engine, EngineError, Limits
from bassloop.runner.drivers.container.probe import find, try_limits

__all__ = ["ContainerDriver", "Engine", "EngineError", "Limits", "find", "try_limits"]
