"""Logs as files: the bytes as received, and the settled lines with an index.

A line is *settled* once the terminal can't change it any more. A log consists of up to four files in `logs/<run>/`,
named after its step's row, and never after anything that a runner chooses:

- `<row>`: the bytes exactly as received.
- `<row>.text`: settled lines. It exists only once the settled text differs from the raw bytes; its
  header says how many raw bytes precede it.
- `<row>.lines`: the offsets of lines in the settled text, of about every 512th.
- `<row>.pieces`: when bytes arrived, and on which stream.

Data is written before the records that point at it, and nothing is ever overwritten, so a crash leaves a
prefix. `repair_log` makes that prefix consistent again.

`log_files` defines the formats. `appender` and `log_reader` write and read the files of one log in a thread,
`log_writer` queues data from Trio, and `logs` is the subject `store.logs`.

With a bucket, a log is written to these files first. `shipper` and `shipment` copy them to the bucket meanwhile, as
the objects that `log_objects` defines, and remove the files once the log is complete. `find_log` finds a log.
"""

from __future__ import annotations
