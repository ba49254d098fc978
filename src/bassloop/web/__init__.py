"""The pages: what ran, its logs while they are written, and the address where webhooks arrive.

Views are pure functions from what the store has (:mod:`views`); :mod:`guard` alone decides who may
see what.
"""

from __future__ import annotations

from bassloop.web.app import create_app
from bassloop.web.context import Health, WebContext
from bassloop.web.service_endpoints import create_metrics_app

__all__ = ["Health", "WebContext", "create_app", "create_metrics_app"]
