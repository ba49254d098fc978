"""Bass on the command line: run scripts with the caller's permissions, and their thunks in this process.

A script starts without an event loop. `late_driver.py` imports one when the script waits, and `local_host.py` imports
the thunk runner when it runs a thunk. `repl.py` evaluates entries in a separate thread and can be interrupted, even if
they come from a pipe; `repl_prompt.py` reads them from a terminal.
"""
