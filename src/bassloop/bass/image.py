"""What `with-image` takes: a thunk, or a scope that tells of an image in a registry, an archive, or a Dockerfile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bassloop.bass import errors, needs
from bassloop.bass.errors import BassError
from bassloop.bass.files import FSPath
from bassloop.bass.pair import plain
from bassloop.bass.paths import FilePath
from bassloop.bass.placed import HostPath
from bassloop.bass.scope import MISSING, Scope
from bassloop.bass.thunk import (
    ARCHITECTURE,
    BuildInput,
    Image,
    ImageArchive,
    ImageBuild,
    ImageRef,
    Platform,
    Thunk,
    ThunkAddr,
    ThunkPath,
)

if TYPE_CHECKING:
    from bassloop.bass.values import Value


def image(value: Value, who: str) -> Image:
    """An image, from a thunk or a scope. Raises `BassError` that says which key is missing or wrong."""
    value = plain(value)
    if isinstance(value, Thunk):
        return value
    if not isinstance(value, Scope):
        raise errors.wrong_type(
            value, "thunk, or a scope with :repository, :file or :docker_build", who
        )
    failure: BassError | None = None
    for key, read in (("repository", _ref), ("file", _archive), ("docker_build", _build)):
        if value.get(key) is not MISSING:
            try:
                return read(value, who)
            except BassError as error:
                failure = failure or error
    raise failure or BassError(
        lambda: (
            f"{who}: {errors.brief(value)} is no image: it has none of :repository, :file, :docker_build"
        )
    )


def image_ref(value: Value, who: str) -> ImageRef:
    """An image in a registry, from a scope. Raises `BassError` that says which key is missing or wrong."""
    scope = needs.scope(value, who)
    if scope.get("repository") is MISSING:
        raise BassError(lambda: f"{who}: {errors.brief(scope)} has no :repository")
    return _ref(scope, who)


def platform(value: Value, who: str) -> Platform:
    """A platform, from a scope. The architecture is this machine's unless it is given."""
    scope = needs.scope(value, who)
    if scope.get("os") is MISSING:
        raise BassError(
            lambda: (
                f'{who}: the platform {errors.brief(scope)} has no :os, for example {{:os "linux"}}'
            )
        )
    for key in ("os.version", "variant"):
        _text(scope, key, who)
    features = scope.get("os.features")
    if features is not MISSING:
        for feature in needs.items(features, who):
            needs.text(feature, who)
    arch = scope.get("architecture")
    return Platform(
        _text(scope, "os", who), ARCHITECTURE if arch is MISSING else needs.text(arch, who)
    )


def _ref(scope: Scope, who: str) -> ImageRef:
    repository = plain(scope.get("repository"))
    if not isinstance(repository, ThunkAddr):
        repository = needs.text(repository, f"{who}: :repository")
    where = scope.get("platform")
    return ImageRef(
        repository,
        Platform() if where is MISSING else platform(where, who),
        _text(scope, "tag", who),
        _text(scope, "digest", who),
    )


def _archive(scope: Scope, who: str) -> ImageArchive:
    return ImageArchive(_input(scope, "file", who), _platform(scope, who), _text(scope, "tag", who))


def _build(scope: Scope, who: str) -> ImageBuild:
    dockerfile = plain(scope.get("dockerfile"))
    if dockerfile is MISSING:
        dockerfile = None
    elif not isinstance(dockerfile, FilePath):
        raise errors.wrong_type(dockerfile, "file path", f"{who}: :dockerfile")
    args = scope.get("args")
    return ImageBuild(
        _input(scope, "docker_build", who),
        _platform(scope, who),
        dockerfile,
        _text(scope, "target", who),
        () if args is MISSING else tuple(needs.scope(args, who).items()),
    )


def _platform(scope: Scope, who: str) -> Platform:
    value = scope.get("platform")
    if value is MISSING:
        raise BassError(
            lambda: f'{who}: {errors.brief(scope)} has no :platform, for example {{:os "linux"}}'
        )
    return platform(value, who)


def _input(scope: Scope, key: str, who: str) -> BuildInput:
    value = plain(scope.get(key))
    if not isinstance(value, ThunkPath | HostPath | FSPath):
        raise errors.wrong_type(value, "path into a thunk or directory", f"{who}: :{key}")
    return value


def _text(scope: Scope, key: str, who: str) -> str:
    value = scope.get(key)
    return "" if value is MISSING else needs.text(value, f"{who}: :{key}")
