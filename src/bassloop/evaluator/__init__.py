"""Evaluates each hook in a process of its own, which can be killed.

    the daemon, with Trio          the fork server               a process for each hook
    evaluators.py
      server_process.py   <--->    fork_server.py    -- fork -->   hook_evaluation.py
      hook_process.py     <------------------------------------>     daemon_link.py, remote_host.py

The daemon starts the fork server as a program of its own, with nothing of the daemon's but one socket. It imports
the language, locks itself in (`confinement.py`), and forks a process for each hook. That process
evaluates the hook, and asks the daemon for everything else by messages (`messages.py`); the daemon
checks each of them (`conversation.py`). The kernel ends a process that takes too much processor time or memory; the
daemon ends it by closing its end of the socket.

This module imports nothing, so that the fork server holds the language, and no more.
"""
