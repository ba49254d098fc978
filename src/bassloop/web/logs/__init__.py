"""Logs over HTTP: ranges of lines, downloads, outlines, search, and live updates."""
