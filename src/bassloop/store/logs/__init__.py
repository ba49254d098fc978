"""Logs as files: the bytes as received, and the settled lines, numbered, linked and searched.

A log is up to four files in `logs/<run>/`, named after its step's row (never after anything that
a runner chose):

- `<row>`: the bytes exactly as received, appended to.
- `<row>.text`: settled lines. It exists only from the moment on when the settled text stopped being
  the raw text itself; its header says how many raw bytes stand before it.
- `<row>.lines`: where lines begin in the settled text, every 512th or so.
- `<row>.pieces`: when the bytes came, and on which stream.

Data is written before what points at it, and nothing is ever overwritten, so that a crash leaves a
prefix. `repair` makes that prefix whole lines again.
"""

from __future__ import annotations
