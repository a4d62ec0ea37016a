"""Typed payloads: the producer's half, which also waits for the result. See `contract.py`.

python order.py --redis redis://localhost:6379/0
"""

from __future__ import annotations

import argparse
import asyncio
from decimal import Decimal

from contract import Invoice, Item, Order, greet, write_invoice
from pydantic import ValidationError

from asyncq import Client


async def main() -> None:
    parser = argparse.ArgumentParser(description="Order something, and wait for the invoice.")
    parser.add_argument("--redis", default="redis://localhost:6379/0", help="URL")
    url = parser.parse_args().redis

    async with Client(url) as client:
        # The fields of the payload, checked here: by the type checker, and by pydantic.
        ordered = await client.enqueue(
            write_invoice(
                customer="Ada",
                items=[
                    Item(article="tea", pieces=3, price=Decimal("4.20")),
                    Item(article="cup", pieces=1, price=Decimal("7.50")),
                ],
            )
        )
        # A payload that exists already, options for this one task, and headers.
        again = await client.enqueue(
            write_invoice.task(Order(customer="Ada", items=[]), headers={"trace": "7"}),
            unique=60,
        )
        greeted = await client.enqueue(greet("Ada"))

        # Waits for the task to end. A task that was given up raises TaskFailedError.
        invoice = await client.result(ordered, Invoice, timeout=60)
        print(f"{invoice.customer} pays {invoice.total}: {', '.join(invoice.lines)}")
        empty = await client.result(again, Invoice, timeout=60)
        print(f"{empty.customer} pays {empty.total}")
        print(await client.result(greeted, str, timeout=60))

    try:
        Item(article="tea", pieces=0, price=Decimal(1))
    except ValidationError as error:
        print(f"refused at once: {error.errors()[0]['msg']}")


if __name__ == "__main__":
    asyncio.run(main())
