"""Bass on the command line: scripts with the rights of whoever calls them, and thunks that run in this process.

A script starts without an event loop. `driver.py` imports one, and `host.py` what runs thunks, when the script waits or
runs a thunk.
"""
