"""The one bridge between Trio and asyncio, and HTTP/2 on the channels of an SSH connection.

The loop and the runner both use `bassloop.bridge.grpc`.
"""

from __future__ import annotations

from bassloop.bridge.event_loop import call_asyncio, call_trio, hand_over, open_bridge

__all__ = ["call_asyncio", "call_trio", "hand_over", "open_bridge"]
