"""From a webhook to a delivery that is handled once, in order."""
