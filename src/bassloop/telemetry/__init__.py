"""Telemetry: counters, spans, the liveness."""
