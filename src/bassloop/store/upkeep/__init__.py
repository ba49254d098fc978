"""Upkeep: what keeps a store small, whole, and elsewhere as well.

- `retention` says which runs have had their time; `prune` removes them.
- `backup` copies a store while it is in use; `restore` puts a copy back.
- `check` holds database and logs against each other, and mends what it can; `salvage` takes what can
  still be read out of a damaged database.

All of it blocks, and is called from a thread or from a command that does nothing else.
"""
