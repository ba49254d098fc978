"""Forms and patterns to closures: they are compiled when they are first evaluated, and from then on only run.

* `code.py`: `code(form)` and how each class of form is compiled, apart from combinations.
* `patterns.py`: `binder(pattern)`.
* `apply.py`: `call(combiner, args)`, what a call of each class of combiner does.
* `combination.py`: `(f x y)`, the code of which is made from templates.
"""
