"""The messages that loop and runner exchange.

The ``.proto`` files are the source. ``nox -s proto`` generates the modules next to them, which are committed so that
nobody needs a compiler to install the package.
"""

from __future__ import annotations
