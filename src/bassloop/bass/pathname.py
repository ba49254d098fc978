"""The text of a path: how it is cleaned, taken apart and written. Slashes part, on every system."""

from __future__ import annotations


def clean(path: str) -> str:
    """The shortest path that means the same: without empty parts, `.`, and `..` as far as they can be resolved."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts and parts[-1] != "..":
                parts.pop()
            elif not rooted:
                parts.append(part)
        elif part and part != ".":
            parts.append(part)
    joined = "/".join(parts)
    return "/" + joined if rooted else joined or "."


def base(path: str) -> str:
    """The last part of a path; "." for an empty one, "/" for the root."""
    if not path:
        return "."
    return path.rstrip("/").rpartition("/")[2] or "/"


def dirname(path: str) -> str:
    """All but the last part of a path, clean."""
    return clean(path[: path.rfind("/") + 1])


def trimmed(path: str) -> str:
    """A path without the slash at its end."""
    return path.removesuffix("/")


def clarify(path: str) -> str:
    """A path as it is written: a relative one begins with `./` or `../`."""
    return path if path.startswith(("/", "./", "../")) else "./" + path
