"""``python -m bassloop`` is ``bassloop``."""

from __future__ import annotations

from bassloop.cli import main

if __name__ == "__main__":
    main()
