"""From a delivery being handled to its checks being concluded.

handler ─► hook ─► check ─► recorder ─► store
              │        │         └────► tail
              │        └─► conclude ──► GitHub
              └─► notices ────┘
"""
