"""The operations of `Store`, a module and a class for each subject.

A new operation goes to its subject. A new subject is a class on `Operations`, named in `Store`. The
SQL behind it is a function in the module of the same subject one level up.
"""
