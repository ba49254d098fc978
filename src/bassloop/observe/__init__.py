"""How the loop is: what is ready, and what is counted.

Nothing here is told anything: it looks at what the parts count of themselves, when it is asked.
"""

from __future__ import annotations

from bassloop.observe.metrics import Metrics
from bassloop.observe.readiness import Finding, Readiness

__all__ = ["Finding", "Metrics", "Readiness"]
