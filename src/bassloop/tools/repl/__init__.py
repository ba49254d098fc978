"""The interactive prompt (read-eval-print loop).

`evaluator.py` evaluates entries in a separate thread and can be interrupted, even if they come from a pipe. `prompt.py`
reads them from a terminal.
"""
