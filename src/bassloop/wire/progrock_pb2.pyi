import datetime

from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LogStream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STDIN: _ClassVar[LogStream]
    STDOUT: _ClassVar[LogStream]
    STDERR: _ClassVar[LogStream]

class MessageLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INVALID: _ClassVar[MessageLevel]
    DEBUG: _ClassVar[MessageLevel]
    WARNING: _ClassVar[MessageLevel]
    ERROR: _ClassVar[MessageLevel]
STDIN: LogStream
STDOUT: LogStream
STDERR: LogStream
INVALID: MessageLevel
DEBUG: MessageLevel
WARNING: MessageLevel
ERROR: MessageLevel

class StatusUpdate(_message.Message):
    __slots__ = ("vertexes", "tasks", "logs", "groups", "memberships", "messages", "sent", "received", "metas", "children")
    VERTEXES_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIPS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    METAS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    vertexes: _containers.RepeatedCompositeFieldContainer[Vertex]
    tasks: _containers.RepeatedCompositeFieldContainer[VertexTask]
    logs: _containers.RepeatedCompositeFieldContainer[VertexLog]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    memberships: _containers.RepeatedCompositeFieldContainer[Membership]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    sent: _timestamp_pb2.Timestamp
    received: _timestamp_pb2.Timestamp
    metas: _containers.RepeatedCompositeFieldContainer[VertexMeta]
    children: _containers.RepeatedCompositeFieldContainer[Children]
    def __init__(self, vertexes: _Optional[_Iterable[_Union[Vertex, _Mapping]]] = ..., tasks: _Optional[_Iterable[_Union[VertexTask, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[VertexLog, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ..., memberships: _Optional[_Iterable[_Union[Membership, _Mapping]]] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., sent: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., received: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., metas: _Optional[_Iterable[_Union[VertexMeta, _Mapping]]] = ..., children: _Optional[_Iterable[_Union[Children, _Mapping]]] = ...) -> None: ...

class Vertex(_message.Message):
    __slots__ = ("id", "name", "inputs", "outputs", "started", "completed", "cached", "error", "canceled", "internal", "focused", "zoomed", "labels")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CANCELED_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_FIELD_NUMBER: _ClassVar[int]
    FOCUSED_FIELD_NUMBER: _ClassVar[int]
    ZOOMED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    inputs: _containers.RepeatedScalarFieldContainer[str]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    started: _timestamp_pb2.Timestamp
    completed: _timestamp_pb2.Timestamp
    cached: bool
    error: str
    canceled: bool
    internal: bool
    focused: bool
    zoomed: bool
    labels: _containers.RepeatedCompositeFieldContainer[Label]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., inputs: _Optional[_Iterable[str]] = ..., outputs: _Optional[_Iterable[str]] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cached: bool = ..., error: _Optional[str] = ..., canceled: bool = ..., internal: bool = ..., focused: bool = ..., zoomed: bool = ..., labels: _Optional[_Iterable[_Union[Label, _Mapping]]] = ...) -> None: ...

class VertexTask(_message.Message):
    __slots__ = ("vertex", "name", "total", "current", "started", "completed")
    VERTEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    vertex: str
    name: str
    total: int
    current: int
    started: _timestamp_pb2.Timestamp
    completed: _timestamp_pb2.Timestamp
    def __init__(self, vertex: _Optional[str] = ..., name: _Optional[str] = ..., total: _Optional[int] = ..., current: _Optional[int] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VertexLog(_message.Message):
    __slots__ = ("vertex", "stream", "data", "timestamp")
    VERTEX_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    vertex: str
    stream: LogStream
    data: bytes
    timestamp: _timestamp_pb2.Timestamp
    def __init__(self, vertex: _Optional[str] = ..., stream: _Optional[_Union[LogStream, str]] = ..., data: _Optional[bytes] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VertexMeta(_message.Message):
    __slots__ = ("vertex", "name", "data")
    VERTEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    vertex: str
    name: str
    data: _any_pb2.Any
    def __init__(self, vertex: _Optional[str] = ..., name: _Optional[str] = ..., data: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("id", "parent", "name", "labels", "started", "completed", "weak")
    ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    WEAK_FIELD_NUMBER: _ClassVar[int]
    id: str
    parent: str
    name: str
    labels: _containers.RepeatedCompositeFieldContainer[Label]
    started: _timestamp_pb2.Timestamp
    completed: _timestamp_pb2.Timestamp
    weak: bool
    def __init__(self, id: _Optional[str] = ..., parent: _Optional[str] = ..., name: _Optional[str] = ..., labels: _Optional[_Iterable[_Union[Label, _Mapping]]] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., weak: bool = ...) -> None: ...

class Membership(_message.Message):
    __slots__ = ("group", "vertexes")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    VERTEXES_FIELD_NUMBER: _ClassVar[int]
    group: str
    vertexes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, group: _Optional[str] = ..., vertexes: _Optional[_Iterable[str]] = ...) -> None: ...

class Children(_message.Message):
    __slots__ = ("vertex", "vertexes")
    VERTEX_FIELD_NUMBER: _ClassVar[int]
    VERTEXES_FIELD_NUMBER: _ClassVar[int]
    vertex: str
    vertexes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, vertex: _Optional[str] = ..., vertexes: _Optional[_Iterable[str]] = ...) -> None: ...

class Label(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("message", "level", "code", "labels")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    message: str
    level: MessageLevel
    code: str
    labels: _containers.RepeatedCompositeFieldContainer[Label]
    def __init__(self, message: _Optional[str] = ..., level: _Optional[_Union[MessageLevel, str]] = ..., code: _Optional[str] = ..., labels: _Optional[_Iterable[_Union[Label, _Mapping]]] = ...) -> None: ...
