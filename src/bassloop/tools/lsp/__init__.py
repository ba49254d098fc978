"""The language server: answers editors' questions about a script, without evaluating it.

`text_model.py` reads texts that are no programs yet, `walk.py` and `operatives.py` find scopes, definitions and
references in their forms, and `analysis.py` resolves them and reports problems. `features.py` makes answers from that.
None of them does I/O. `documents.py` keeps the texts, and `server.py` speaks the protocol, on asyncio, in a process of
its own.
"""
