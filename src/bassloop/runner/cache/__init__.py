"""Outputs of thunks and cache folders, kept on disk."""
