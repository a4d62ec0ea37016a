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
from promql import OF_SCRAPES, Expression, check, exported

from asyncq.metrics import SnapshotCollector

MONITORING = Path(__file__).parent.parent / "docs" / "monitoring"
DASHBOARD: Any = json.loads((MONITORING / "grafana-dashboard.json").read_text())
RULES: Any = yaml.safe_load((MONITORING / "alerts.yaml").read_text())

DURATION = re.compile(r"(\d+(ms|[smhdwy]))+")


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
    check(expressions()[where].replace("$__rate_interval", "5m"))


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
            assert label in exported()[metric] | OF_SCRAPES


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
    assert rule["annotations"].keys() == {"runbook", "summary", "description"}
    assert re.fullmatch(r"[A-Z]\w+", rule["alert"])
    assert DURATION.fullmatch(rule.get("for", "0s"))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_runbook_of_a_rule_is_a_section_that_names_it(rule: Mapping[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    _, *sections = (MONITORING.parent.parent / page).read_text().split("\n## ")
    found = {
        re.sub(r"[^\w -]", "", section.partition("\n")[0]).lower().replace(" ", "-"): section
        for section in sections
    }
    assert rule["alert"] in found[anchor]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_texts_of_a_rule_name_labels_that_it_has(rule: Mapping[str, Any]) -> None:
    expression = Expression(rule["expr"])
    left = exported()[expression.metrics[0]] | OF_SCRAPES
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
