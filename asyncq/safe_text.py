"""What strangers wrote (types, ids, payloads, errors), made harmless for a terminal."""

from __future__ import annotations

_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def safe(text: str) -> str:
    """`text` on one line; what a terminal could take for a command is written as an escape.

    Nothing of it moves the cursor, changes colours or reverses the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _ESCAPES.get(c) or _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
