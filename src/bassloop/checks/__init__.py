"""From a delivery that is handled to checks that are concluded.

delivery ─► hook ─► checks ─► recorder ─► store
                                 └─────► tail
"""
