"""From nothing to a measured model: rendered hands, a small network, its numbers, and a page of pictures."""

from __future__ import annotations

from knuckle.quickstart.run import Settings, quickstart

__all__ = ["Settings", "quickstart"]
