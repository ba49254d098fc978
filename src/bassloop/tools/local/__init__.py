"""Bass on the command line: run scripts with the caller's permissions, and their thunks in this process.

A script starts without an event loop. `late_driver.py` imports one when the script waits, and `local_host.py` imports
the thunk runner when it runs a thunk.
"""
