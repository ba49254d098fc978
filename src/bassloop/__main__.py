"""The program: ``bassloop``, or ``python -m bassloop``."""

from __future__ import annotations

from bassloop.interrupts import QuietInterrupts

with QuietInterrupts():
    from bassloop.cli import main

if __name__ == "__main__":
    main()
