"""Attacks on a daemon in a process of its own: one costs the attacker, and nobody else more than 100 ms."""
