"""Telemetry: counters, spans, and whether the event loop runs."""
