"""`davy deploy` on a real Prefect server: what it makes, changes, removes and refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.settings import get_current_settings
from typer.testing import CliRunner, Result

from deployments import prefect_api
from deployments.cli import app
from flows.canary import canary
from flows.nightly import nightly
from tasks.domain.settings import settings
from tasks.domain.spec import service_adapter
from tests.rig.engine import start_engine

SHOP: dict[str, Any] = {
    "service": "shop",
    "strategy": "canary",
    "fleet": {"command": "serve"},
    "router": {"port": 8080},
    "steps": [{"share": 5, "bake": "30s"}, {"share": 50, "bake": "1m"}],
}
CART: dict[str, Any] = SHOP | {"service": "cart", "strategy": "rolling", "router": {"port": 8081}}
del CART["steps"]
NIGHT = {"versions": {"kind": "file", "path": "newest"}, "schedule": {"cron": "30 2 * * 1-5"}}


@pytest.fixture
def folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """A folder with two service files, and a server that has none of its deployments."""
    start_engine(request)
    del home
    api = get_current_settings().api.url
    monkeypatch.setenv("DAVY_PREFECT_PORT", str(httpx.URL(str(api)).port))
    settings.cache_clear()
    made = tmp_path / "services"
    made.mkdir()
    write(made, SHOP)
    write(made, CART)
    yield made
    for one in prefect_api.deployments_tagged(prefect_api.MADE):
        prefect_api.delete_deployment(one["id"])


def write(folder: Path, content: dict[str, Any], name: str = "") -> None:
    (folder / f"{name or content['service']}.yaml").write_text(yaml.safe_dump(content))


def deploy(*words: object, answer: str = "") -> Result:
    return CliRunner().invoke(app, ["deploy", *map(str, words)], input=answer)


def lines(result: Result) -> list[str]:
    return result.stdout.splitlines()


def names() -> list[str]:
    return sorted(f"{one['flow']}/{one['name']}" for one in prefect_api.deployments_tagged(prefect_api.MADE))


def start(name: str, parameters: dict[str, Any]) -> httpx.Response:
    flow, _, service = name.partition("/")
    made = prefect_api.read_deployment(flow, service)
    assert made
    url = f"{prefect_api.api_url()}/deployments/{made['id']}/create_flow_run"
    return httpx.post(url, json={"parameters": parameters}, timeout=60)


def runs() -> int:
    answer = httpx.post(f"{prefect_api.api_url()}/flow_runs/count", json={}, timeout=60)
    return int(answer.text)


def test_each_service_file_becomes_a_deployment_whose_run_needs_a_version_alone(folder: Path) -> None:
    assert lines(deploy(folder)) == ["+ rolling/cart", "+ canary/shop"]
    answer = start("canary/shop", {"version": "1.1"})
    assert answer.status_code == httpx.codes.CREATED
    read = canary.validate_parameters(answer.json()["parameters"])
    expected = service_adapter.validate_python(SHOP).model_dump(mode="json")
    expected["fleet"]["directory"] = str(folder)
    assert read["service"].model_dump(mode="json") == expected
    assert read["version"] == "1.1"
    assert set(answer.json()["tags"]) >= {prefect_api.TAG, prefect_api.MADE}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "'version' is a required property"),
    ({"version": ""}, "version"),
    ({"version": "1 1"}, "version"),
    ({"version": "1.1", "changes": {"watch": "5x"}}, "changes.watch"),
    ({"version": "1.1", "changes": {"steps": [{"share": 120}]}}, "changes.steps"),
    ({"version": "1.1", "changes": {"on_failure": "stop"}}, "changes.on_failure"),
]


def test_the_server_refuses_a_wrong_value_before_a_run_exists(folder: Path) -> None:
    deploy(folder)
    before = runs()
    for parameters, field in WRONG:
        answer = start("canary/shop", parameters)
        assert answer.status_code == httpx.codes.CONFLICT, parameters
        assert field in answer.json()["detail"]
    assert runs() == before


def test_what_is_deployed_again_says_and_does_what_changed(folder: Path) -> None:
    deploy(folder)
    before = prefect_api.read_deployment("rolling", "cart")
    write(folder, SHOP | {"steps": [{"share": 5, "bake": "1m"}, {"share": 50, "bake": "1m"}]})
    expected = ["= rolling/cart unchanged", "~ canary/shop: steps.0.bake 30s -> 1m"]
    assert lines(deploy(folder, "--dry-run")) == expected
    assert lines(deploy(folder)) == expected
    assert lines(deploy(folder)) == ["= rolling/cart unchanged", "= canary/shop unchanged"]
    assert prefect_api.read_deployment("rolling", "cart") == before
    after = prefect_api.read_deployment("canary", "shop")
    assert after
    form = after["parameter_openapi_schema"]["properties"]["changes"]["properties"]
    assert form["steps"]["default"][0] == {"share": 5.0, "bake": "1m"}
    assert after["parameters"]["service"]["steps"][0] == {"share": 5.0, "bake": "1m"}


def test_a_dry_run_touches_nothing_and_speaks_json(folder: Path) -> None:
    result = deploy(folder, "--dry-run", "--json")
    assert json.loads(result.stdout) == [
        {"action": "+", "deployment": "rolling/cart", "changes": []},
        {"action": "+", "deployment": "canary/shop", "changes": []},
    ]
    assert names() == []


def test_a_file_that_is_gone_is_removed_only_after_a_yes(folder: Path) -> None:
    deploy(folder)
    (folder / "cart.yaml").unlink()
    assert lines(deploy(folder, "--dry-run")) == ["= canary/shop unchanged", "- rolling/cart"]
    nobody = deploy(folder)
    assert nobody.exit_code == 1
    assert lines(nobody) == ["= canary/shop unchanged"]
    assert "rolling/cart; --yes removes" in nobody.stderr
    assert names() == ["canary/shop", "rolling/cart"]
    assert lines(deploy(folder, "--yes")) == ["= canary/shop unchanged", "- rolling/cart"]
    assert names() == ["canary/shop"]


@pytest.mark.parametrize(("answer", "left"), [("y\n", []), ("n\n", ["canary/shop"])])
def test_at_a_terminal_it_asks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: list[str]
) -> None:
    monkeypatch.setattr("deployments.deploy_verb.at_terminal", lambda: True)
    deploy(folder)
    blue_green = {key: value for key, value in SHOP.items() if key != "steps"} | {"strategy": "blue-green"}
    write(folder, blue_green)
    result = deploy(folder, answer=answer)
    assert result.exit_code == 0
    assert "Remove canary/shop? [y/N]" in result.output
    assert names() == sorted(["blue-green/shop", "rolling/cart", *left])


def test_another_folder_s_deployments_are_left_alone(folder: Path, tmp_path: Path) -> None:
    deploy(folder)
    other = tmp_path / "other"
    other.mkdir()
    write(other, SHOP | {"service": "mail"})
    assert lines(deploy(other, "--yes")) == ["+ canary/mail"]
    assert names() == ["canary/mail", "canary/shop", "rolling/cart"]


def test_a_deployment_that_others_made_is_not_overwritten(folder: Path) -> None:
    made = prefect_api.write_deployment("canary", {"name": "shop", "tags": ["theirs"]})
    result = deploy(folder)
    assert result.exit_code == 2
    assert "canary/shop: found 'a deployment that davy deploy did not make'" in result.stderr
    assert names() == []
    prefect_api.delete_deployment(made)


def test_one_bad_file_and_nothing_is_deployed_but_every_fault_is_told(folder: Path) -> None:
    write(folder, SHOP | {"steps": [{"share": 50}, {"share": 5}]})
    write(folder, CART | {"bake": "soon", "replica": 3})
    write(folder, CART, "twin")
    write(folder, CART | {"service": "davy"})
    write(folder, CART | {"service": "mail", "schedule": NIGHT["schedule"]})
    (folder / "odd.yaml").write_text("[")
    result = deploy(folder)
    assert result.exit_code == 2
    assert names() == []
    for told in (
        "cart.yaml: bake: found 'soon'",
        "cart.yaml: replica: found 3, expected no such key; did you mean 'replicas'?",
        "davy.yaml: service: found 'davy', expected another name than Davy's own",
        "mail.yaml: schedule: found '30 2 * * 1-5 UTC' without versions, expected versions beside it",
        "odd.yaml",
        "shop.yaml: steps.1.share: found 5% after 50%",
    ):
        assert told in result.stderr, told
    write(folder, CART)
    for name in ("davy", "mail", "odd", "shop"):
        (folder / f"{name}.yaml").unlink()
    assert "twin.yaml: service: found 'cart', expected not the one of cart.yaml" in deploy(folder).stderr


@pytest.mark.parametrize("made", [True, False])
def test_a_folder_without_service_files_is_refused(tmp_path: Path, *, made: bool) -> None:
    if made:
        (tmp_path / "empty").mkdir()
    result = deploy(tmp_path / "empty")
    assert result.exit_code == 2
    assert "expected a folder with service files" in result.stderr


def test_a_pool_that_is_missing_is_refused_with_those_there_are(folder: Path) -> None:
    pools = f"{prefect_api.api_url()}/work_pools"
    assert "expected an existing work pool; there is none" in deploy(folder, "--pool", "night").stderr
    httpx.post(f"{pools}/", json={"name": "day", "type": "process"}, timeout=60).raise_for_status()
    result = deploy(folder, "--pool", "night")
    assert result.exit_code == 2
    assert "pool: found 'night', expected one of day" in result.stderr
    assert names() == []
    deploy(folder)
    assert lines(deploy(folder, "--pool", "day"))[1] == "~ canary/shop: pool none -> day"
    there = prefect_api.read_deployment("canary", "shop")
    assert there
    assert (there["work_pool_name"], there["entrypoint"]) == ("day", "flows.canary.canary")
    assert there["pull_steps"], "without any, Prefect copies the worker's whole folder for each run"
    assert lines(deploy(folder))[1] == "~ canary/shop: pool day -> none"
    there = prefect_api.read_deployment("canary", "shop")
    assert there
    assert (there["work_pool_name"], there["pull_steps"]) == (None, None)
    httpx.delete(f"{pools}/day", timeout=60).raise_for_status()


def test_schedules_become_the_folder_s_night(folder: Path) -> None:
    write(folder, SHOP | NIGHT)
    write(folder, CART | NIGHT)
    late = {"cron": "0 4 * * *", "timezone": "Europe/Berlin"}
    write(folder, SHOP | NIGHT | {"service": "mail", "schedule": late})
    assert lines(deploy(folder))[-1] == "+ nightly/services"
    there = prefect_api.read_deployment("nightly", "services")
    assert there
    starts = {(one["schedule"]["cron"], one["schedule"]["timezone"]): one for one in there["schedules"]}
    assert set(starts) == {("30 2 * * 1-5", "UTC"), ("0 4 * * *", "Europe/Berlin")}
    assert all(one["active"] for one in starts.values())
    for zone, one in starts.items():
        answer = start("nightly/services", one["parameters"])
        assert answer.status_code == httpx.codes.CREATED
        read = nightly.validate_parameters(answer.json()["parameters"])
        assert (read["schedule"].cron, read["schedule"].timezone) == zone
        taken = [service.name for service in read["services"] if service.schedule == read["schedule"]]
        assert taken == (["mail"] if zone[1] == "Europe/Berlin" else ["cart", "shop"])
    assert prefect_api.TAG not in there["tags"]
    assert lines(deploy(folder))[-1] == "= nightly/services unchanged"


def test_a_night_that_was_paused_in_the_ui_stays_so_when_others_change(folder: Path) -> None:
    write(folder, SHOP | NIGHT)
    deploy(folder)
    there = prefect_api.read_deployment("nightly", "services")
    assert there
    url = f"{prefect_api.api_url()}/deployments/{there['id']}/schedules/{there['schedules'][0]['id']}"
    httpx.patch(url, json={"active": False}, timeout=60).raise_for_status()
    write(folder, CART | NIGHT | {"schedule": {"cron": "0 4 * * *"}})
    told = "~ nightly/services: schedule 30 2 * * 1-5 UTC -> 0 4 * * * UTC; 30 2 * * 1-5 UTC, cart.service none -> cart"
    assert told in deploy(folder).stdout
    there = prefect_api.read_deployment("nightly", "services")
    assert there
    assert {one["schedule"]["cron"]: one["active"] for one in there["schedules"]} == {
        "30 2 * * 1-5": False,
        "0 4 * * *": True,
    }
