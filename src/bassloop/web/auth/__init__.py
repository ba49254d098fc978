"""Signing in: sessions, GitHub's web flow for browsers, and its device flow for terminals."""
