"""The language server: answers editors' requests about a script, without evaluating it.

`text_model.py` reads texts that may be incomplete, `walk.py` and `operatives.py` find the scopes, definitions and
references in them, and `analysis.py` resolves these and reports problems. `answers.py` makes answers from that. None
of these modules does I/O. `server.py` stores the open texts and implements the protocol, on asyncio, in a process of
its own.
"""
