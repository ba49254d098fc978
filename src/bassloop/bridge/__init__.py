"""The one bridge between Trio and asyncio, and HTTP/2 on the channels of an SSH connection.

`bassloop.bridge.grpc` has what loop and runner share of the latter.
"""

from __future__ import annotations

from bassloop.bridge.event_loop import call_asyncio, call_trio, hand_over, open_bridge

__all__ = ["call_asyncio", "call_trio", "hand_over", "open_bridge"]
