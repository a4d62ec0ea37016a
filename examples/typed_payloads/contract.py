"""Typed payloads: the contract, which producer and worker both import.

    asyncq worker handlers:mux --redis redis://localhost:6379/0     in one terminal
    python order.py --redis redis://localhost:6379/0                in a second one

A `TaskType` says once what a type of task is called in Redis, what goes in, what comes out, and
which options its tasks have. `mypy` and `pyright` then hold both ends to it: a misspelt field in
`order.py`, or a handler in `handlers.py` that returns something else, is an error before it runs.
At run time a payload that does not fit is refused when it is made, not by a worker tomorrow.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from pydantic import BaseModel, Field

from asyncq import TaskType


class Item(BaseModel):
    article: str
    pieces: int = Field(gt=0)
    price: Decimal


class Order(BaseModel):
    customer: str
    items: list[Item]


class Invoice(BaseModel):
    customer: str
    total: Decimal
    lines: list[str]


# The result stays in Redis for as long as the finished task is retained.
write_invoice = TaskType(
    "invoice:write",
    Order,
    result=Invoice,
    max_retry=3,
    timeout=timedelta(seconds=30),
    retention=timedelta(hours=1),
)

# Plain values are payloads too.
greet = TaskType("customer:greet", str, result=str, retention=60)
