"""`python -m knuckle` is the command `knuckle`."""

from __future__ import annotations

import sys

from knuckle.cli import main

if __name__ == "__main__":
    sys.exit(main())
