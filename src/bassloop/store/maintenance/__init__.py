"""Maintenance: what keeps a store small and intact, and copies it.

- `prune` removes the runs that `retention` doesn't keep; `pruner` does so every hour.
- `backup` copies a store while it is in use, and restores a copy.
- `integrity` compares the database with the logs; `repair` repairs what can be repaired, and salvages what
  a damaged database still has.

All of it but `prune` and `pruner` blocks: it is for threads, and for commands that do nothing else.
"""
