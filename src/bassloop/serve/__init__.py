"""The daemon.

| module | holds |
| --- | --- |
| `root` | the root nursery: who starts whom, what ends whom |
| `parts` | what the settings say, in the words of each part |
| `secret` | with what sessions are signed |
| `listening` | the sockets, and their addresses |
| `http` | the HTTP servers, of the pages and of the metrics |
| `tls` | the daemon's own certificate |
| `proxies` | who asks, when a proxy stands in between |
| `signals` | what SIGTERM and its kin do, and draining |
"""

from __future__ import annotations

from bassloop.serve.listening import StartError
from bassloop.serve.root import Serving, serve

__all__ = ["Serving", "StartError", "serve"]
