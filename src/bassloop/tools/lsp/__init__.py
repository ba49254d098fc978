"""The language server: what editors ask about a script, answered without evaluating it.

`repair.py` reads texts that are no programs yet, `walk.py` finds scopes, definitions and references in their forms,
`analysis.py` relates them to each other and knows what is wrong. None of it does I/O. `features.py` makes answers
of that, and `server.py` speaks the protocol, on asyncio: it is a process of its own, away from Trio.
"""
