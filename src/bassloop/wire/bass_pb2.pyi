from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConcurrencyMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONCURRENCY_MODE_SHARED: _ClassVar[ConcurrencyMode]
    CONCURRENCY_MODE_PRIVATE: _ClassVar[ConcurrencyMode]
    CONCURRENCY_MODE_LOCKED: _ClassVar[ConcurrencyMode]
CONCURRENCY_MODE_SHARED: ConcurrencyMode
CONCURRENCY_MODE_PRIVATE: ConcurrencyMode
CONCURRENCY_MODE_LOCKED: ConcurrencyMode

class Value(_message.Message):
    __slots__ = ("null", "bool", "int", "string", "secret", "array", "object", "thunk", "command_path", "file_path", "dir_path", "host_path", "thunk_path", "logical_path", "thunk_addr", "cache_path")
    NULL_FIELD_NUMBER: _ClassVar[int]
    BOOL_FIELD_NUMBER: _ClassVar[int]
    INT_FIELD_NUMBER: _ClassVar[int]
    STRING_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    ARRAY_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    THUNK_FIELD_NUMBER: _ClassVar[int]
    COMMAND_PATH_FIELD_NUMBER: _ClassVar[int]
    FILE_PATH_FIELD_NUMBER: _ClassVar[int]
    DIR_PATH_FIELD_NUMBER: _ClassVar[int]
    HOST_PATH_FIELD_NUMBER: _ClassVar[int]
    THUNK_PATH_FIELD_NUMBER: _ClassVar[int]
    LOGICAL_PATH_FIELD_NUMBER: _ClassVar[int]
    THUNK_ADDR_FIELD_NUMBER: _ClassVar[int]
    CACHE_PATH_FIELD_NUMBER: _ClassVar[int]
    null: Null
    bool: Bool
    int: Int
    string: String
    secret: Secret
    array: Array
    object: Object
    thunk: bytes
    command_path: CommandPath
    file_path: FilePath
    dir_path: DirPath
    host_path: HostPath
    thunk_path: ThunkPath
    logical_path: LogicalPath
    thunk_addr: ThunkAddr
    cache_path: CachePath
    def __init__(self, null: _Optional[_Union[Null, _Mapping]] = ..., bool: _Optional[_Union[Bool, _Mapping]] = ..., int: _Optional[_Union[Int, _Mapping]] = ..., string: _Optional[_Union[String, _Mapping]] = ..., secret: _Optional[_Union[Secret, _Mapping]] = ..., array: _Optional[_Union[Array, _Mapping]] = ..., object: _Optional[_Union[Object, _Mapping]] = ..., thunk: _Optional[bytes] = ..., command_path: _Optional[_Union[CommandPath, _Mapping]] = ..., file_path: _Optional[_Union[FilePath, _Mapping]] = ..., dir_path: _Optional[_Union[DirPath, _Mapping]] = ..., host_path: _Optional[_Union[HostPath, _Mapping]] = ..., thunk_path: _Optional[_Union[ThunkPath, _Mapping]] = ..., logical_path: _Optional[_Union[LogicalPath, _Mapping]] = ..., thunk_addr: _Optional[_Union[ThunkAddr, _Mapping]] = ..., cache_path: _Optional[_Union[CachePath, _Mapping]] = ...) -> None: ...

class Null(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Bool(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: bool
    def __init__(self, value: bool = ...) -> None: ...

class Int(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: int
    def __init__(self, value: _Optional[int] = ...) -> None: ...

class String(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: str
    def __init__(self, value: _Optional[str] = ...) -> None: ...

class Secret(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class Array(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[Value]
    def __init__(self, values: _Optional[_Iterable[_Union[Value, _Mapping]]] = ...) -> None: ...

class Object(_message.Message):
    __slots__ = ("bindings",)
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    bindings: _containers.RepeatedCompositeFieldContainer[Binding]
    def __init__(self, bindings: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ...) -> None: ...

class Binding(_message.Message):
    __slots__ = ("symbol", "value")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    value: Value
    def __init__(self, symbol: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...

class Thunk(_message.Message):
    __slots__ = ("image", "insecure", "args", "stdin", "env", "dir", "mounts", "labels", "ports", "tls", "entrypoint", "clear_entrypoint", "default_args", "clear_default_args", "use_entrypoint")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    INSECURE_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    DIR_FIELD_NUMBER: _ClassVar[int]
    MOUNTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    CLEAR_ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_ARGS_FIELD_NUMBER: _ClassVar[int]
    CLEAR_DEFAULT_ARGS_FIELD_NUMBER: _ClassVar[int]
    USE_ENTRYPOINT_FIELD_NUMBER: _ClassVar[int]
    image: ThunkImage
    insecure: bool
    args: _containers.RepeatedCompositeFieldContainer[Value]
    stdin: _containers.RepeatedCompositeFieldContainer[Value]
    env: _containers.RepeatedCompositeFieldContainer[Binding]
    dir: ThunkDir
    mounts: _containers.RepeatedCompositeFieldContainer[ThunkMount]
    labels: _containers.RepeatedCompositeFieldContainer[Binding]
    ports: _containers.RepeatedCompositeFieldContainer[ThunkPort]
    tls: ThunkTLS
    entrypoint: _containers.RepeatedScalarFieldContainer[str]
    clear_entrypoint: bool
    default_args: _containers.RepeatedScalarFieldContainer[str]
    clear_default_args: bool
    use_entrypoint: bool
    def __init__(self, image: _Optional[_Union[ThunkImage, _Mapping]] = ..., insecure: bool = ..., args: _Optional[_Iterable[_Union[Value, _Mapping]]] = ..., stdin: _Optional[_Iterable[_Union[Value, _Mapping]]] = ..., env: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ..., dir: _Optional[_Union[ThunkDir, _Mapping]] = ..., mounts: _Optional[_Iterable[_Union[ThunkMount, _Mapping]]] = ..., labels: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ..., ports: _Optional[_Iterable[_Union[ThunkPort, _Mapping]]] = ..., tls: _Optional[_Union[ThunkTLS, _Mapping]] = ..., entrypoint: _Optional[_Iterable[str]] = ..., clear_entrypoint: bool = ..., default_args: _Optional[_Iterable[str]] = ..., clear_default_args: bool = ..., use_entrypoint: bool = ...) -> None: ...

class ThunkPort(_message.Message):
    __slots__ = ("name", "port")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    name: str
    port: int
    def __init__(self, name: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class ThunkTLS(_message.Message):
    __slots__ = ("cert", "key")
    CERT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    cert: FilePath
    key: FilePath
    def __init__(self, cert: _Optional[_Union[FilePath, _Mapping]] = ..., key: _Optional[_Union[FilePath, _Mapping]] = ...) -> None: ...

class ThunkAddr(_message.Message):
    __slots__ = ("thunk", "port", "format")
    THUNK_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    thunk: bytes
    port: str
    format: str
    def __init__(self, thunk: _Optional[bytes] = ..., port: _Optional[str] = ..., format: _Optional[str] = ...) -> None: ...

class ThunkDir(_message.Message):
    __slots__ = ("local", "thunk", "host")
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    THUNK_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    local: DirPath
    thunk: ThunkPath
    host: HostPath
    def __init__(self, local: _Optional[_Union[DirPath, _Mapping]] = ..., thunk: _Optional[_Union[ThunkPath, _Mapping]] = ..., host: _Optional[_Union[HostPath, _Mapping]] = ...) -> None: ...

class ThunkMount(_message.Message):
    __slots__ = ("source", "target")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    source: ThunkMountSource
    target: FilesystemPath
    def __init__(self, source: _Optional[_Union[ThunkMountSource, _Mapping]] = ..., target: _Optional[_Union[FilesystemPath, _Mapping]] = ...) -> None: ...

class ThunkMountSource(_message.Message):
    __slots__ = ("thunk", "host", "logical", "cache", "secret")
    THUNK_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    LOGICAL_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    thunk: ThunkPath
    host: HostPath
    logical: LogicalPath
    cache: CachePath
    secret: Secret
    def __init__(self, thunk: _Optional[_Union[ThunkPath, _Mapping]] = ..., host: _Optional[_Union[HostPath, _Mapping]] = ..., logical: _Optional[_Union[LogicalPath, _Mapping]] = ..., cache: _Optional[_Union[CachePath, _Mapping]] = ..., secret: _Optional[_Union[Secret, _Mapping]] = ...) -> None: ...

class ThunkImage(_message.Message):
    __slots__ = ("ref", "thunk", "archive", "docker_build")
    REF_FIELD_NUMBER: _ClassVar[int]
    THUNK_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_FIELD_NUMBER: _ClassVar[int]
    DOCKER_BUILD_FIELD_NUMBER: _ClassVar[int]
    ref: ImageRef
    thunk: bytes
    archive: ImageArchive
    docker_build: ImageDockerBuild
    def __init__(self, ref: _Optional[_Union[ImageRef, _Mapping]] = ..., thunk: _Optional[bytes] = ..., archive: _Optional[_Union[ImageArchive, _Mapping]] = ..., docker_build: _Optional[_Union[ImageDockerBuild, _Mapping]] = ...) -> None: ...

class ImageRef(_message.Message):
    __slots__ = ("platform", "repository", "file", "addr", "tag", "digest")
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    ADDR_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    platform: Platform
    repository: str
    file: ThunkPath
    addr: ThunkAddr
    tag: str
    digest: str
    def __init__(self, platform: _Optional[_Union[Platform, _Mapping]] = ..., repository: _Optional[str] = ..., file: _Optional[_Union[ThunkPath, _Mapping]] = ..., addr: _Optional[_Union[ThunkAddr, _Mapping]] = ..., tag: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class ImageArchive(_message.Message):
    __slots__ = ("platform", "file", "tag")
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    platform: Platform
    file: ImageBuildInput
    tag: str
    def __init__(self, platform: _Optional[_Union[Platform, _Mapping]] = ..., file: _Optional[_Union[ImageBuildInput, _Mapping]] = ..., tag: _Optional[str] = ...) -> None: ...

class ImageDockerBuild(_message.Message):
    __slots__ = ("platform", "context", "dockerfile", "target", "args")
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DOCKERFILE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    platform: Platform
    context: ImageBuildInput
    dockerfile: str
    target: str
    args: _containers.RepeatedCompositeFieldContainer[BuildArg]
    def __init__(self, platform: _Optional[_Union[Platform, _Mapping]] = ..., context: _Optional[_Union[ImageBuildInput, _Mapping]] = ..., dockerfile: _Optional[str] = ..., target: _Optional[str] = ..., args: _Optional[_Iterable[_Union[BuildArg, _Mapping]]] = ...) -> None: ...

class ImageBuildInput(_message.Message):
    __slots__ = ("thunk", "host", "logical")
    THUNK_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    LOGICAL_FIELD_NUMBER: _ClassVar[int]
    thunk: ThunkPath
    host: HostPath
    logical: LogicalPath
    def __init__(self, thunk: _Optional[_Union[ThunkPath, _Mapping]] = ..., host: _Optional[_Union[HostPath, _Mapping]] = ..., logical: _Optional[_Union[LogicalPath, _Mapping]] = ...) -> None: ...

class BuildArg(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Platform(_message.Message):
    __slots__ = ("os", "arch")
    OS_FIELD_NUMBER: _ClassVar[int]
    ARCH_FIELD_NUMBER: _ClassVar[int]
    os: str
    arch: str
    def __init__(self, os: _Optional[str] = ..., arch: _Optional[str] = ...) -> None: ...

class CommandPath(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class FilePath(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class DirPath(_message.Message):
    __slots__ = ("path", "include", "exclude")
    PATH_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_FIELD_NUMBER: _ClassVar[int]
    path: str
    include: _containers.RepeatedScalarFieldContainer[str]
    exclude: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[str] = ..., include: _Optional[_Iterable[str]] = ..., exclude: _Optional[_Iterable[str]] = ...) -> None: ...

class FilesystemPath(_message.Message):
    __slots__ = ("file", "dir")
    FILE_FIELD_NUMBER: _ClassVar[int]
    DIR_FIELD_NUMBER: _ClassVar[int]
    file: FilePath
    dir: DirPath
    def __init__(self, file: _Optional[_Union[FilePath, _Mapping]] = ..., dir: _Optional[_Union[DirPath, _Mapping]] = ...) -> None: ...

class ThunkPath(_message.Message):
    __slots__ = ("thunk", "path")
    THUNK_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    thunk: bytes
    path: FilesystemPath
    def __init__(self, thunk: _Optional[bytes] = ..., path: _Optional[_Union[FilesystemPath, _Mapping]] = ...) -> None: ...

class HostPath(_message.Message):
    __slots__ = ("context", "path")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    context: str
    path: FilesystemPath
    def __init__(self, context: _Optional[str] = ..., path: _Optional[_Union[FilesystemPath, _Mapping]] = ...) -> None: ...

class LogicalPath(_message.Message):
    __slots__ = ("file", "dir")
    class File(_message.Message):
        __slots__ = ("name", "content")
        NAME_FIELD_NUMBER: _ClassVar[int]
        CONTENT_FIELD_NUMBER: _ClassVar[int]
        name: str
        content: bytes
        def __init__(self, name: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...
    class Dir(_message.Message):
        __slots__ = ("name", "entries")
        NAME_FIELD_NUMBER: _ClassVar[int]
        ENTRIES_FIELD_NUMBER: _ClassVar[int]
        name: str
        entries: _containers.RepeatedCompositeFieldContainer[LogicalPath]
        def __init__(self, name: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[LogicalPath, _Mapping]]] = ...) -> None: ...
    FILE_FIELD_NUMBER: _ClassVar[int]
    DIR_FIELD_NUMBER: _ClassVar[int]
    file: LogicalPath.File
    dir: LogicalPath.Dir
    def __init__(self, file: _Optional[_Union[LogicalPath.File, _Mapping]] = ..., dir: _Optional[_Union[LogicalPath.Dir, _Mapping]] = ...) -> None: ...

class CachePath(_message.Message):
    __slots__ = ("id", "path", "concurrency")
    ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    id: str
    path: FilesystemPath
    concurrency: ConcurrencyMode
    def __init__(self, id: _Optional[str] = ..., path: _Optional[_Union[FilesystemPath, _Mapping]] = ..., concurrency: _Optional[_Union[ConcurrencyMode, str]] = ...) -> None: ...

class Memosphere(_message.Message):
    __slots__ = ("memos",)
    class Memo(_message.Message):
        __slots__ = ("module", "calls")
        MODULE_FIELD_NUMBER: _ClassVar[int]
        CALLS_FIELD_NUMBER: _ClassVar[int]
        module: Thunk
        calls: _containers.RepeatedCompositeFieldContainer[Memosphere.Call]
        def __init__(self, module: _Optional[_Union[Thunk, _Mapping]] = ..., calls: _Optional[_Iterable[_Union[Memosphere.Call, _Mapping]]] = ...) -> None: ...
    class Call(_message.Message):
        __slots__ = ("binding", "results")
        BINDING_FIELD_NUMBER: _ClassVar[int]
        RESULTS_FIELD_NUMBER: _ClassVar[int]
        binding: str
        results: _containers.RepeatedCompositeFieldContainer[Memosphere.Result]
        def __init__(self, binding: _Optional[str] = ..., results: _Optional[_Iterable[_Union[Memosphere.Result, _Mapping]]] = ...) -> None: ...
    class Result(_message.Message):
        __slots__ = ("input", "output")
        INPUT_FIELD_NUMBER: _ClassVar[int]
        OUTPUT_FIELD_NUMBER: _ClassVar[int]
        input: Value
        output: Value
        def __init__(self, input: _Optional[_Union[Value, _Mapping]] = ..., output: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    MEMOS_FIELD_NUMBER: _ClassVar[int]
    memos: _containers.RepeatedCompositeFieldContainer[Memosphere.Memo]
    def __init__(self, memos: _Optional[_Iterable[_Union[Memosphere.Memo, _Mapping]]] = ...) -> None: ...
