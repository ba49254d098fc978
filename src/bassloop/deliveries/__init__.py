"""Deliveries: receiving webhooks, and handling each once and in order."""
