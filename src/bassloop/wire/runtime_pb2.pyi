from bassloop.wire import bass_pb2 as _bass_pb2
from bassloop.wire import progrock_pb2 as _progrock_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunResponse(_message.Message):
    __slots__ = ("progress",)
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    progress: _progrock_pb2.StatusUpdate
    def __init__(self, progress: _Optional[_Union[_progrock_pb2.StatusUpdate, _Mapping]] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("progress", "output")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    progress: _progrock_pb2.StatusUpdate
    output: bytes
    def __init__(self, progress: _Optional[_Union[_progrock_pb2.StatusUpdate, _Mapping]] = ..., output: _Optional[bytes] = ...) -> None: ...

class ExportResponse(_message.Message):
    __slots__ = ("progress", "data")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    progress: _progrock_pb2.StatusUpdate
    data: bytes
    def __init__(self, progress: _Optional[_Union[_progrock_pb2.StatusUpdate, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("ref", "thunk")
    REF_FIELD_NUMBER: _ClassVar[int]
    THUNK_FIELD_NUMBER: _ClassVar[int]
    ref: _bass_pb2.ImageRef
    thunk: _bass_pb2.Thunk
    def __init__(self, ref: _Optional[_Union[_bass_pb2.ImageRef, _Mapping]] = ..., thunk: _Optional[_Union[_bass_pb2.Thunk, _Mapping]] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("progress", "published")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    progress: _progrock_pb2.StatusUpdate
    published: _bass_pb2.ImageRef
    def __init__(self, progress: _Optional[_Union[_progrock_pb2.StatusUpdate, _Mapping]] = ..., published: _Optional[_Union[_bass_pb2.ImageRef, _Mapping]] = ...) -> None: ...
