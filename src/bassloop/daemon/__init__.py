"""The daemon: the root nursery, and how the parts are wired together."""
