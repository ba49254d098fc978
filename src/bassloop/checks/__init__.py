"""Handling a delivery, from its payload to the conclusion of its checks.

handler ─► hook ─► check ─► recorder ─► store
              │        │         └────► tail
              │        └─► conclude ──► GitHub
              └─► notices ────┘
"""
