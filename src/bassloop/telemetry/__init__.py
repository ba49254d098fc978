"""What the loop reports about itself: counts, spans, its heartbeat, and its state to a service manager."""
