"""Handling a delivery, from its payload to the conclusion of its checks.

handler ─► hook ─► check ─► recorder ─► store
              │        │         └────► live_runs
              │        └─► conclude ──► GitHub
              └─► notices ────┘
"""
