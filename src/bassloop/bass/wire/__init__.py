"""Values as protobuf messages, and back; the digests of thunks.

The messages themselves are in `bassloop.wire`. Nothing else in the language knows their shape, except `memo_file.py`.
"""
