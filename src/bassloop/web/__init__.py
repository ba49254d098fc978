"""The web application: webhooks, pages, live logs, and a JSON API at the pages' addresses.

:mod:`guard` alone decides who may see what.
"""

from __future__ import annotations

from bassloop.web.app import create_app
from bassloop.web.service_endpoints import create_metrics_app
from bassloop.web.web_context import Health, PartStatus, WebContext

__all__ = ["Health", "PartStatus", "WebContext", "create_app", "create_metrics_app"]
