"""Asks the pages that machines ask for, and reads metrics."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


class Answer(NamedTuple):
    status: int
    body: str


async def get(port: int, path: str, *, accept: str = "*/*") -> Answer:
    """Of a server on this machine."""
    return await asyncio.to_thread(_get, port, path, accept)


def _get(port: int, path: str, accept: str) -> Answer:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return Answer(response.status, response.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode())


def labels(**values: str) -> Labels:
    return frozenset(values.items())


def samples(text: str, name: str) -> Mapping[Labels, float]:
    """The values of one series of an exposition, by their labels."""
    return {
        frozenset(sample.labels.items()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def types(text: str) -> Mapping[str, str]:
    """The type of each metric, as the exposition says it."""
    lines = [line.split() for line in text.splitlines() if line.startswith("# TYPE ")]
    return {name: kind for _, _, name, kind in lines}
