"""The compiler: turns forms and patterns into closures when they are first evaluated.

* `code.py`: `code(form)`, and how each class of form is compiled, except combinations.
* `patterns.py`: `binder(pattern)`.
* `combination.py`: combinations, `(f x y)`. Their code is generated from templates. See `combiner.py` for calls.
"""
