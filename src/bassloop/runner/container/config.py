"""What an image says that it runs, after a chain of thunks. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bassloop.runner.errors import DriverError

if TYPE_CHECKING:
    from bassloop.wire import bass_pb2 as pb

KEYS = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
)
"""What the OCI's image specification has; engines add more to it."""

Config = dict[str, Any]


def config_after(thunk: pb.Thunk, root: Config) -> Config:
    """The configuration of a thunk's image, from that of the image at the root of its chain.

    A command's variables, user and directory are its own: they do not go into the image.
    """
    config = {key: root[key] for key in KEYS if root.get(key)}
    for each in reversed(list(_chain(thunk))):
        if each.entrypoint or each.clear_entrypoint:
            config["Entrypoint"] = list(each.entrypoint)
        if each.default_args or each.clear_default_args:
            config["Cmd"] = list(each.default_args)
        if each.labels:
            config["Labels"] = {label.symbol: _text(label.value) for label in each.labels}
        for port in each.ports:
            config["ExposedPorts"] = {**config.get("ExposedPorts", {}), f"{port.port}/tcp": {}}
    return {key: value for key, value in config.items() if value not in ([], {}, "")}


def _chain(thunk: pb.Thunk) -> list[pb.Thunk]:
    """A thunk, and those that it is from."""
    found = [thunk]
    while thunk.image.WhichOneof("image") == "thunk":
        thunk = thunk.image.thunk
        found.append(thunk)
    return found


def _text(value: pb.Value) -> str:
    if value.WhichOneof("value") != "string":
        raise DriverError("a label's value is text")
    return value.string.value
