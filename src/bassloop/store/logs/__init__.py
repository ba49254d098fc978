"""Logs as files: the bytes as received, and the settled lines, with an index.

A log is up to four files in `logs/<run>/`, named after its step's row, never after anything that a
runner chose:

- `<row>`: the bytes exactly as received, appended to.
- `<row>.text`: settled lines. It exists only once the settled text differs from the raw bytes; its
  header says how many raw bytes precede it.
- `<row>.lines`: where lines begin in the settled text, every 512th or so.
- `<row>.pieces`: when the bytes came, and on which stream.

Data is written before the records that point at it, and nothing is ever overwritten, so that a crash
leaves a prefix. `repair_log` makes that prefix consistent again.

`log_files` has the formats, `appender` and `log_reader` write and read the files of one log in a
thread, `log_writer` queues what is appended from Trio, and `logs` is the subject `store.logs`.

With a bucket, the files are where a log begins. `shipper` and `shipment` bring what is in them there meanwhile,
as the objects that `log_objects` describes, and remove them once the log is complete. `find_log` finds a log.
"""

from __future__ import annotations
