"""Alert rules and dashboard ask only for what the service exports."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from moderator import errors
from moderator.metrics import MetricRow
from moderator.policies.policy_metrics import Role
from moderator.verdicts import Decision
from tests.support.tools import needs
from workers.worker_metrics import STAGES, describe

DOCKER = Path(__file__).parents[3] / "docker"
PROMETHEUS = DOCKER / "prometheus"
RULE_TESTS = ("alerts_test.yml", "alerts_slow_test.yml")
TARGET_LABELS = {"job", "instance"}
#: Series that Prometheus itself makes.
OWN = {"up": set(), "ALERTS": {"alertname", "alertstate"}}


def exported(rows: list[MetricRow]) -> dict[str, set[str]]:
    """Labels of every series that can be asked for, without those of the target."""
    series: dict[str, set[str]] = {}
    for row in rows:
        labels = set(row.labels)
        if row.kind == "histogram":
            series[f"{row.name}_sum"] = series[f"{row.name}_count"] = labels
            series[f"{row.name}_bucket"] = labels | {"le"}
        else:
            series[row.name] = labels
    return series


SERIES = exported(describe()) | OWN
ERRORS = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.ModeratorError)]
#: Labels whose values are fixed by the code.
VALUES = {
    "decision": {decision.value for decision in Decision},
    "stage": {*STAGES, *(error.stage for error in ERRORS)},
    "error": {error.__name__ for error in ERRORS},
    "role": set(get_args(Role)),
    "job": {"moderator"},
}


def problems(query: str, *templates: str) -> list[str]:
    """What in a query, or in the texts that show its result, does not exist."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', query)
    names = re.findall(r"\b(?:moderation_\w+|up|ALERTS)\b", bare)
    found = [f"no series {name}" for name in names if name not in SERIES]
    if not names:
        found.append("asks for no series")
    known = TARGET_LABELS.union(*(SERIES.get(name, set()) for name in names))
    for name, selector in re.findall(r"(\w+)\s*\{([^}]*)\}", bare):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        found += [
            f"{name} has no label {label}" for label in labels - SERIES.get(name, set()) - TARGET_LABELS
        ]
    for label, values in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"', query):
        if label in VALUES:
            found += [f"{label} is never {v}" for v in values.split("|") if v not in VALUES[label]]
    for labels in re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", bare):
        found += [f"no label {label}" for label in re.findall(r"\w+", labels) if label not in known]
    for template in templates:
        shown = re.findall(r"\$labels\.(\w+)", template) or re.findall(r"\{\{\s*(\w+)\s*\}\}", template)
        found += [f"text shows no label {label}" for label in shown if label not in known]
    return found


def alert_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DOCKER / "grafana" / "dashboards" / "moderation.json").read_text())
    return loaded


def dashboard_targets() -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target


@pytest.mark.parametrize(
    ("query", "templates"),
    [
        ("moderation_event_total", ()),
        ("moderation_duration_seconds", ()),
        ("moderation_events_total_count", ()),
        ('moderation_events_total{polcy="x"}', ()),
        ('moderation_events_total{decision="blocked"}', ()),
        ('moderation_failures_total{error=~"PolicyInvalid|PolicyBroken"}', ()),
        ("sum by (queue) (moderation_events_total)", ()),
        ("moderation_queue_depth / on (policy) moderation_queue_depth", ()),
        ("moderation_queue_depth", ("{{ $labels.policy }}",)),
        ("moderation_queue_depth", ("{{policy}}",)),
        ("vector(1)", ()),
    ],
)
def test_the_check_sees_what_is_wrong(query: str, templates: tuple[str, ...]) -> None:
    assert problems(query, *templates)


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_exported(rule: dict[str, Any]) -> None:
    assert problems(rule["expr"], *rule["annotations"].values()) == []


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(rule["annotations"]["summary"]) > 20
    assert len(rule["annotations"]["description"]) > 80


def test_every_alert_is_named_once_and_proven_by_a_rule_test() -> None:
    names = [rule["alert"] for rule in alert_rules()]
    assert len(names) == len(set(names))
    files = [PROMETHEUS / name for name in RULE_TESTS]
    tests = [test for file in files for test in yaml.safe_load(file.read_text())["tests"]]
    fired: set[str] = set()
    for test in tests:
        fired |= {case["alertname"] for case in test.get("alert_rule_test", []) if case.get("exp_alerts")}
        for case in test.get("promql_expr_test", []):
            for sample in case.get("exp_samples", []):
                fired |= set(re.findall(r'alertname="(\w+)"', sample["labels"]))
    assert fired == set(names)


@pytest.mark.parametrize(
    ("title", "target"), [pytest.param(t, x, id=f"{t}-{x['refId']}") for t, x in dashboard_targets()]
)
def test_a_panel_asks_for_what_is_exported(title: str, target: dict[str, Any]) -> None:
    assert problems(target["expr"], target["legendFormat"]) == []


def test_template_variables_and_annotations_ask_for_what_is_exported() -> None:
    for variable in dashboard()["templating"]["list"]:
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert match
        assert problems(match[1], "{{" + match[2] + "}}") == []
    for annotation in dashboard()["annotations"]["list"]:
        assert problems(annotation["expr"], annotation["titleFormat"]) == []


def test_the_dashboard_shows_every_metric() -> None:
    asked = " ".join(target["expr"] for _, target in dashboard_targets())
    assert [row.name for row in describe() if row.name not in asked] == []


def test_panels_have_their_own_place_and_data_source() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        own = {(grid["x"] + dx, grid["y"] + dy) for dx in range(grid["w"]) for dy in range(grid["h"])}
        assert not own & cells, panel["title"]
        cells |= own
    sources = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    uids = {source["uid"] for source in sources["datasources"]}
    assert {target["datasource"]["uid"] for _, target in dashboard_targets()} <= uids


@pytest.fixture
def promtool() -> str:
    return needs("promtool", package="prometheus")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", "alerts.yml"],
        ["check", "config", "prometheus.yml"],
        *(["test", "rules", name] for name in RULE_TESTS),
    ],
    ids=" ".join,
)
def test_promtool_accepts_the_rules(promtool: str, arguments: list[str]) -> None:
    run = subprocess.run([promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


def test_promtool_can_parse_every_query_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    rules = [
        {
            "record": f"panel:query{n}",
            "expr": re.sub(r"\$(policy|category)\b", ".*", target["expr"]).replace("$__rate_interval", "1m"),
        }
        for n, (_, target) in enumerate(dashboard_targets())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
