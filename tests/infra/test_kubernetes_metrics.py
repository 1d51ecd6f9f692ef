"""Prometheus takes the rules, they say what they should, and the dashboard's queries show what it says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.domain.model import Slot
from tasks.metrics.presets import PRESETS
from tests.infra.test_kubernetes import FOLDER, found
from tests.rig.stack import ROOT

Json = dict[str, Any]
Check = Callable[..., None]

RULES = FOLDER / "monitoring" / "prometheus-rules.yaml"
BOARD = json.loads((ROOT / "infra" / "grafana" / "davy.json").read_text())
SHOWN = {"$__rate_interval": "1m", "$namespace": "shop", "$service": "shop", "$davy": "davy"}
"""What Grafana fills in."""
STATUS = {"istio": "response_code", "nginx": "status", "http": "code"}
ROWS = {"istio": "Istio", "nginx": "NGINX ingress controller", "http": "Counted by the service itself"}
KUBE_STATE = {
    "kube_deployment_created",
    "kube_deployment_spec_replicas",
    "kube_deployment_status_replicas",
    "kube_deployment_status_replicas_available",
    "kube_pod_container_info",
    "kube_pod_container_status_restarts_total",
}
KUBELET = {
    "container_memory_working_set_bytes",
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
}
WORKLOAD = {Slot.BLUE: "shop", Slot.CANDIDATE: "shop-candidate"}


def labels_of(preset: str, slot: Slot) -> dict[str, str]:
    """The labels of a slot's series while a release runs."""
    beside = slot is Slot.CANDIDATE
    return {
        "istio": {
            "reporter": "source",
            "destination_service_namespace": "shop",
            "destination_service_name": f"shop-{slot}",
            "destination_workload_namespace": "shop",
            "destination_workload": WORKLOAD[slot],
        },
        "nginx": {
            "namespace": "shop",
            "service": "shop-blue",
            "canary": "shop-shop-candidate-http" if beside else "",
        },
        "http": {"namespace": "shop", "pod": f"{WORKLOAD[slot]}-5d9f-x7k2p"},
    }[preset]


def series(name: str, labels: Mapping[str, str], values: str) -> Json:
    """One input series, a value each minute."""
    text = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return {"series": f"{name}{{{text}}}", "values": values}


def traffic(preset: str) -> list[Json]:
    """Stable answers 3 requests a second; the candidate one, a quarter of them with errors, half within 100 ms."""
    shape = PRESETS[preset]
    made = []
    for slot, status, each in ((Slot.BLUE, 200, 180), (Slot.CANDIDATE, 200, 45), (Slot.CANDIDATE, 503, 15)):
        labels = labels_of(preset, slot) | {STATUS[preset]: str(status)}
        made.append(series(shape.requests, labels, f"0+{each}x20"))
    for slot in WORKLOAD:
        for bound, each in (("100", 30), ("200", 60), ("+Inf", 60)):
            le = bound if bound == "+Inf" else f"{float(bound) / shape.unit:g}"
            made.append(series(shape.latency, labels_of(preset, slot) | {"le": le}, f"0+{each}x20"))
    return made


def sample(value: float, **labels: str) -> Json:
    """One expected sample."""
    text = ", ".join(f'{key}="{one}"' for key, one in labels.items())
    return {"labels": f"{{{text}}}", "value": value}


def expects(expression: str, *samples: Json, at: str = "15m") -> Json:
    """What an expression gives."""
    return {"expr": expression, "eval_time": at, "exp_samples": list(samples)}


@pytest.fixture
def promtool(tmp_path: Path) -> Callable[..., None]:
    """Runs a command of promtool on a file of that content."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool: found none on PATH, expected the one of Debian's package prometheus")

    def run(*command: str, content: Json | None = None) -> None:
        file = tmp_path / "file.yaml"
        file.write_text(yaml.safe_dump(content))
        done = subprocess.run(
            [program, *command, *([str(file)] if content else [])],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture
def check(promtool: Check) -> Check:
    """Holds the rules against input series."""

    def run(inputs: list[Json], *tests: Json) -> None:
        one = {"interval": "1m", "input_series": inputs, "promql_expr_test": list(tests)}
        content = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [one]}
        promtool("test", "rules", content=content)

    return run


def panels() -> Iterator[tuple[str, Json]]:
    """Each panel with its row's title."""
    row = ""
    for one in BOARD["panels"]:
        row = one["title"] if one["type"] == "row" else row
        if one["type"] != "row":
            yield row, one


def queries(row: str, title: str) -> list[str]:
    """What a panel asks Prometheus for, filled in."""
    (panel,) = [one for where, one in panels() if where == row and one["title"].startswith(title)]
    return [filled(one["expr"]) for one in panel["targets"]]


def filled(expression: str) -> str:
    """With the board's variables replaced."""
    for name, value in SHOWN.items():
        expression = expression.replace(name, value)
    return expression


def everything_asked() -> list[str]:
    """Every expression of the dashboard."""
    asked = [filled(one["expr"]) for _, panel in panels() for one in panel["targets"]]
    return [*asked, *(filled(one["expr"]) for one in BOARD["annotations"]["list"])]


def test_prometheus_takes_the_rules(promtool: Check) -> None:
    promtool("check", "rules", str(RULES))


def test_prometheus_takes_the_dashboards_expressions(promtool: Check) -> None:
    rules = [{"record": f"asked:{number}", "expr": one} for number, one in enumerate(everything_asked())]
    promtool("check", "rules", content={"groups": [{"name": "board", "rules": rules}]})


def test_no_metric_is_asked_for_that_nobody_exports() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    exported = {name for one in PRESETS.values() for name in (one.requests, one.latency)}
    asked = " ".join([*everything_asked(), *(rule["expr"] for rule in rules)])
    named = set(re.findall(r"\b(?:kube|container|kubelet|istio|nginx|http|davy|prefect|process)_\w+", asked))
    assert named <= KUBE_STATE | KUBELET | exported
    assert set(re.findall(r"davy:[a-z_]+:[a-z0-9]+", asked)) <= recorded


@pytest.mark.parametrize("preset", ["istio", "nginx"])
def test_the_rules_tell_shares_and_errors_by_slot(preset: str, check: Check) -> None:
    common = {"namespace": "shop", "preset": preset, "service": "shop"}
    check(
        traffic(preset),
        expects(
            "davy:share:rate1m",
            sample(0.75, __name__="davy:share:rate1m", slot="blue", **common),
            sample(0.25, __name__="davy:share:rate1m", slot="candidate", **common),
        ),
        expects(
            "davy:error_ratio:rate1m",
            sample(0, slot="blue", __name__="davy:error_ratio:rate1m", **common),
            sample(0.25, slot="candidate", __name__="davy:error_ratio:rate1m", **common),
        ),
        expects(
            'count by (alertname) (ALERTS{alertstate="firing", alertname="DavyBadCandidateStays"})',
            sample(1, alertname="DavyBadCandidateStays"),
        ),
    )


def test_nothing_is_said_while_all_is_well(check: Check) -> None:
    up = [
        series("kube_deployment_status_replicas_available", {"namespace": "davy", "deployment": name}, "1x20")
        for name in found("Deployment")
    ]
    check(up, expects('ALERTS{alertstate="firing"}'))


@pytest.mark.parametrize(
    ("inputs", "alert"),
    [
        ([], "DavyWatcherDown"),
        ([("kube_deployment_status_replicas_available", "davy-watcher", "0x20")], "DavyWatcherDown"),
        (
            [
                ("kube_deployment_status_replicas_available", "davy-releases", "0x20"),
                ("kube_deployment_spec_replicas", "davy-releases", "1x20"),
            ],
            "DavyPartDown",
        ),
        (
            [
                ("kube_deployment_status_replicas", "shop-candidate", "1x20"),
                ("kube_deployment_created", "shop-candidate", "-90000x20"),
            ],
            "DavyCandidateForADay",
        ),
    ],
    ids=["absent", "watcher", "releases", "candidate"],
)
def test_an_alert_tells(inputs: list[tuple[str, str, str]], alert: str, check: Check) -> None:
    made = [series(name, {"namespace": "davy", "deployment": one}, values) for name, one, values in inputs]
    firing = f'count by (alertname) (ALERTS{{alertstate="firing", alertname="{alert}"}})'
    check(made, expects(firing, sample(1, alertname=alert)))


def test_restarts_and_a_full_state_folder_are_told(check: Check) -> None:
    pod = {"namespace": "davy", "pod": "davy-watcher-1", "container": "watcher"}
    claim = {"namespace": "davy", "persistentvolumeclaim": "davy-state"}
    check(
        [
            series("kube_pod_container_status_restarts_total", pod, "0+1x20"),
            series("kubelet_volume_stats_available_bytes", claim, "5x20"),
            series("kubelet_volume_stats_capacity_bytes", claim, "100x20"),
        ],
        expects(
            'count by (alertname) (ALERTS{alertstate="firing", alertname=~"DavyRestarts|DavyStateFull"})',
            sample(1, alertname="DavyRestarts"),
            sample(1, alertname="DavyStateFull"),
        ),
    )


@pytest.mark.parametrize("preset", ROWS)
def test_the_dashboard_shows_each_slot(preset: str, check: Check) -> None:
    (share,), (errors,), latencies = (
        queries(ROWS[preset], title) for title in ("Share", "Error rate", "Latency")
    )
    check(
        traffic(preset),
        expects(share, sample(0.75, slot="blue"), sample(0.25, slot="candidate")),
        expects(errors, sample(0, slot="blue"), sample(0.25, slot="candidate")),
        expects(latencies[0], sample(100, slot="blue"), sample(100, slot="candidate")),
        expects(latencies[1], sample(198, slot="blue"), sample(198, slot="candidate")),
    )


def test_the_dashboard_asks_the_chosen_prometheus_and_is_whole() -> None:
    sources = [target["datasource"]["uid"] for _, panel in panels() for target in panel["targets"]]
    assert set(sources) == {"${datasource}"}
    assert [one["name"] for one in BOARD["templating"]["list"]] == [
        "datasource",
        "namespace",
        "service",
        "davy",
    ]
    assert len({one["id"] for one in BOARD["panels"]}) == len(BOARD["panels"])
    assert BOARD["schemaVersion"] >= 39
