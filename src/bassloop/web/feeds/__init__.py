"""A repository's state for other programs: a badge for READMEs, and an Atom feed of failures."""
