"""The loop's reports about itself: counts, spans, its heartbeat, and its state for a service manager."""
