"""Just so much of PromQL as is needed to know which metrics and labels an expression asks for."""

from __future__ import annotations

import re
from typing import Any

from prometheus_client.core import Metric

from asyncq.metrics import QueueMetrics, SnapshotCollector

OF_SCRAPES = {"job", "instance"}
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}

_TOKEN = re.compile(
    r"""
    (?P<text>"(?:[^"\\]|\\.)*")
  | (?P<range>\[[^\]]*\])
  | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
  | (?P<number>\d+(?:\.\d+)?)
  | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},])
  | (?P<space>\s+)
  | (?P<odd>.)
    """,
    re.VERBOSE,
)
_OPERATORS = {"and", "or", "unless", "bool", "offset"}
_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}


def exported() -> dict[str, set[str]]:
    """The labels of every series of our collectors, by its name."""
    metrics: list[Metric] = [
        *SnapshotCollector(dict).describe(),
        *QueueMetrics("redis://localhost").describe(),
    ]
    found = {
        metric.name + suffix: {*names_of(metric), *(["le"] if suffix == "_bucket" else [])}
        for metric in metrics
        for suffix in _SUFFIXES[metric.type]
    }
    return found | {"asyncq_redis_up": set()}


def names_of(metric: Any) -> tuple[str, ...]:
    """Of the labels: prometheus_client keeps them to itself."""
    names: tuple[str, ...] = metric._labelnames
    return names


class Expression:
    """The metrics of a PromQL expression, with the labels that are used."""

    def __init__(self, text: str) -> None:
        self.metrics: list[str] = []
        self.matched: list[tuple[str, str]] = []
        """Metric and label, of each matcher in braces."""
        self.grouped: list[str] = []
        """Labels of `by (...)`, `on (...)` and so on."""
        tokens = [
            (str(match.lastgroup), match[0])
            for match in _TOKEN.finditer(text)
            if match.lastgroup != "space"
        ]
        assert not [token for kind, token in tokens if kind == "odd"], text
        self._read(tokens, text)

    def _read(self, tokens: list[tuple[str, str]], text: str) -> None:
        open_: list[str] = []
        closes = {")": "(", "}": "{"}
        in_list = False
        for n, (kind, token) in enumerate(tokens):
            after = tokens[n + 1][1] if n + 1 < len(tokens) else ""
            if token in "({" and kind == "sign":
                in_list = token == "(" and n > 0 and tokens[n - 1][1] in _LISTS
                open_.append(token)
            elif token in closes and kind == "sign":
                assert open_, f"too many {token}: {text}"
                assert open_.pop() == closes[token], text
                in_list = False
            elif kind != "name" or token in _OPERATORS | _LISTS:
                continue
            elif open_ and open_[-1] == "{":
                assert after in ("=", "!=", "=~", "!~"), text
                self.matched.append((self.metrics[-1], token))
            elif in_list:
                self.grouped.append(token)
            elif after != "(" and after not in _LISTS:
                self.metrics.append(token)
        assert not open_, f"never closed: {text}"


def check(text: str) -> Expression:
    """That it asks for what is exported, by labels that are there."""
    known = exported()
    expression = Expression(text)
    assert expression.metrics
    assert set(expression.metrics) <= known.keys()
    for metric, label in expression.matched:
        assert label in known[metric] | OF_SCRAPES, metric
    everywhere = set.intersection(*(known[metric] for metric in expression.metrics))
    assert set(expression.grouped) <= everywhere | OF_SCRAPES
    return expression
