"""Values as protobuf messages, and back; the digests of thunks.

The generated classes are in `bassloop.wire`. Only this package and `memo_file.py` know which fields the messages have.
"""
