"""The part of Ground that is written in Python, by subject. Importing a module fills the table (`registry.py`)."""
