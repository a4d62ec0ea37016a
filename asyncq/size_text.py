"""Sizes in memory, written for people."""

from __future__ import annotations


def size_text(count: int) -> str:
    """Bytes, as Redis counts them: `512 B`, `1.5 KiB`, `120 MiB`."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if size < 1023.5:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
