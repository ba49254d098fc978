"""Telemetry: counters, spans, the heartbeat, and notifications to a service manager."""
