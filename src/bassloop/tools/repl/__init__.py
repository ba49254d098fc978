"""The language at a prompt: an interpreter in a thread of its own, and what talks with a person.

`evaluator.py` evaluates and can be interrupted, `names.py` knows what may be completed, `prompt.py` reads from a
terminal and `piped.py` from anything else.
"""
