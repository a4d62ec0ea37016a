"""`asyncq demo`: the quick start of `examples/quickstart`, run and watched."""

from .command import demo

__all__ = ["demo"]
