"""Values as protobuf messages, and back; the digests that name thunks."""
