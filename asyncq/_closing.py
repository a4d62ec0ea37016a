"""What is left open until somebody closes it."""

from __future__ import annotations

from typing import Self


class Closing:
    """Closes itself at the end of `async with`."""

    async def aclose(self) -> None:
        """Close what it holds open. Safe to call again."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
