"""Labels for own photos: proposals to correct in Labelme, what to look at next, and what people have checked."""

from __future__ import annotations
