"""Typed payloads: the worker's half. See `contract.py`."""

from __future__ import annotations

from decimal import Decimal

from contract import Invoice, Order, greet, write_invoice

from asyncq import ServeMux

mux = ServeMux()


# By default a payload that does not parse fails like any error, and is retried: a producer may be
# newer than this worker for a while. Here nobody expects that, so it is archived at once.
@mux.handle(write_invoice, invalid_payload="archive")
async def on_write_invoice(order: Order) -> Invoice:
    lines = [f"{item.pieces} x {item.article} at {item.price}" for item in order.items]
    total = sum((item.price * item.pieces for item in order.items), Decimal(0))
    return Invoice(customer=order.customer, total=total, lines=lines)


@mux.handle(greet)
def on_greet(name: str) -> str:  # a plain function runs in a thread
    return f"Good morning, {name}!"
