"""Drivers: the ways in which a runner carries thunks out."""

from __future__ import annotations
