"""The local web page: camera or photos in the browser, hands found by a model on this machine."""

from __future__ import annotations
