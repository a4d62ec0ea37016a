"""The dashboard and the alert rules: they ask only for what is exported, and are well formed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.core import Metric

from asyncq.metrics import QueueMetrics, SnapshotCollector

MONITORING = Path(__file__).parent.parent / "docs" / "monitoring"
DASHBOARD: Any = json.loads((MONITORING / "grafana-dashboard.json").read_text())
RULES: Any = yaml.safe_load((MONITORING / "alerts.yaml").read_text())

DURATION = re.compile(r"(\d+(ms|[smhdwy]))+")
_OF_SCRAPES = {"job", "instance"}
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}

# Just so much of PromQL as is needed to know which names are metrics.
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


def panels() -> Iterator[Mapping[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", ())


def rules() -> list[Mapping[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """By where they stand."""
    of_panels = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel.get("targets", ())
    }
    return of_panels | {rule["alert"]: rule["expr"] for rule in rules()}


@pytest.mark.parametrize("where", expressions())
def test_expressions_ask_for_what_is_exported(where: str) -> None:
    known = exported()
    expression = Expression(expressions()[where].replace("$__rate_interval", "5m"))
    assert expression.metrics
    assert set(expression.metrics) <= known.keys()
    for metric, label in expression.matched:
        assert label in known[metric] | _OF_SCRAPES, metric
    everywhere = set.intersection(*(known[metric] for metric in expression.metrics))
    assert set(expression.grouped) <= everywhere | _OF_SCRAPES


def test_every_metric_of_a_worker_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel.get("targets", ()))
    assert [m.name for m in SnapshotCollector(dict).describe() if m.name not in shown] == []


# The dashboard


def test_panels_have_ids_and_places_of_their_own() -> None:
    ids = Counter(panel["id"] for panel in panels())
    assert [id_ for id_, times in ids.items() if times > 1] == []
    taken: Counter[tuple[int, int]] = Counter()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken.update(
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        )
    assert [place for place, times in taken.items() if times > 1] == []


def test_panels_say_what_they_show_from_the_source_that_is_chosen() -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        assert panel["title"]
        if panel["type"] == "row":
            continue
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)) > 0
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])


def test_variables_exist_and_are_used() -> None:
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    text = json.dumps([*panels()])
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
    assert used == variables
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.findall(r"\w+", variable["query"]["query"])[1:]
            assert label in exported()[metric] | _OF_SCRAPES


# The rules


def test_groups_and_alerts_have_names_of_their_own() -> None:
    assert RULES.keys() == {"groups"}
    for names in (
        [group["name"] for group in RULES["groups"]],
        [rule["alert"] for rule in rules()],
    ):
        assert len(names) == len(set(names)) > 0


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_is_complete(rule: Mapping[str, Any]) -> None:
    assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"].keys() == {"summary", "description"}
    assert re.fullmatch(r"[A-Z]\w+", rule["alert"])
    assert DURATION.fullmatch(rule.get("for", "0s"))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_texts_of_a_rule_name_labels_that_it_has(rule: Mapping[str, Any]) -> None:
    expression = Expression(rule["expr"])
    left = exported()[expression.metrics[0]] | _OF_SCRAPES
    has = set(expression.grouped) if "sum by" in rule["expr"] else left
    for text in rule["annotations"].values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= has
        assert text.count("{{") == text.count("}}")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("sum(a", "never closed"),
        ("a)", "too many"),
        ('a{b="c")', "b="),
        ("a $ b", "a . b"),
    ],
)
def test_an_expression_that_is_no_promql_is_noticed(wrong: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        Expression(wrong)


def test_an_expression_is_read() -> None:
    expression = Expression(
        'histogram_quantile(0.9, sum by (le, q) (rate(a_bucket{q=~"x|y", t!=""}[5m])))'
        " > 2 and on (q) b == 0 unless absent(c)"
    )
    assert expression.metrics == ["a_bucket", "b", "c"]
    assert expression.matched == [("a_bucket", "q"), ("a_bucket", "t")]
    assert expression.grouped == ["le", "q", "q"]
