"""A thunk's face: a drawing that its digest decides, the same everywhere and for ever."""

from __future__ import annotations

import hashlib

SIDE = 7
"""Cells a side; the right half mirrors the left."""


def avatar_svg(digest: str, size: int = 96) -> str:
    """The drawing, as SVG without script or style: two colours on a ground, mirrored."""
    bits = hashlib.sha256(digest.encode(errors="replace")).digest()
    hue = bits[0] * 360 // 256
    other = (hue + 90 + bits[1] * 180 // 256) % 360
    half = SIDE // 2 + 1
    cells = []
    for index in range(SIDE * half):
        x, y = index % half, index // half
        drawn = bits[2 + index // 2] >> (index % 2 * 4) & 0b1111
        if drawn >= 7:
            colour = f"hsl({hue} 55% 48%)" if drawn < 12 else f"hsl({other} 60% 60%)"
            for column in {x, SIDE - 1 - x}:
                cells.append(f'<rect x="{column}" y="{y}" width="1" height="1" fill="{colour}"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {SIDE + 2} {SIDE + 2}" '
        f'width="{size}" height="{size}" shape-rendering="crispEdges" aria-hidden="true">'
        f'<rect x="-1" y="-1" width="{SIDE + 2}" height="{SIDE + 2}" fill="hsl({hue} 40% 94%)"/>'
        f"{''.join(sorted(cells))}</svg>\n"
    )
