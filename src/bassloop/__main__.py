"""The program: ``bassloop``, or ``python -m bassloop``."""

from __future__ import annotations

import sys

try:
    from bassloop.interrupts import QuietInterrupts

    with QuietInterrupts():
        from bassloop.cli import main
except KeyboardInterrupt:
    # It came before the handler of QuietInterrupts, while that module's own imports ran.
    sys.exit(130)

if __name__ == "__main__":
    main()
