"""The calls to Prefect's server, over real HTTP: busy, refusing, away, or somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from deployments import prefect_api
from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.settings import settings
from tests.rig.small_prefect import Prefect, run_of, small_prefect


@pytest.fixture
def prefect(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect]:
    """A server in place of Prefect's; asked again quickly."""
    del home
    monkeypatch.setattr("deployments.prefect_api.time.sleep", lambda _seconds: None)
    with small_prefect() as server:
        yield server


def test_a_server_that_is_busy_is_asked_again_with_the_same_key(prefect: Prefect) -> None:
    prefect.answers["POST /deployments/d1/create_flow_run"] = [
        (503, {}),
        (503, {}),
        run_of("Scheduled", "SCHEDULED"),
    ]
    run = prefect_api.create_run("canary/davy", {"version": "v2"}, key="r1")
    assert (run.id, run.state, run.type, run.over) == ("run-1", "Scheduled", "SCHEDULED", False)
    posted = [body for key, body in prefect.asked if key.startswith("POST")]
    assert posted == [{"parameters": {"version": "v2"}, "idempotency_key": "r1"}] * 3


@pytest.mark.parametrize("status", [404, 409, 422])
def test_what_the_server_refuses_is_not_asked_again(prefect: Prefect, status: int) -> None:
    prefect.answers["POST /deployments/d1/create_flow_run"] = [(status, {"detail": "version: too odd"})]
    with pytest.raises(PermanentError, match=f"answered {status}: .*too odd"):
        prefect_api.create_run("canary/davy", {}, key="r1")
    assert len([key for key, _ in prefect.asked if key.startswith("POST")]) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_is_named_and_not_shown_though_the_server_repeats_it(
    prefect: Prefect, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "davy:planted")
    prefect.answers["GET /flow_runs/run-1"] = [(status, {"detail": "davy:planted is not known"})]
    with pytest.raises(PermanentError) as error:
        prefect_api.read_run("run-1")
    expected = f"answered {status}, expected PREFECT_API_AUTH_STRING to be the one that it asks for"
    assert str(error.value) == f"Prefect's server: GET /flow_runs/run-1 {expected}"


def test_a_server_that_stays_away_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del home
    monkeypatch.setattr("deployments.prefect_api.PATIENCE", timedelta(seconds=0.1))
    with pytest.raises(
        TransientError, match=f"ConnectError, expected an answer from {prefect_api.api_url()}"
    ):
        prefect_api.read_run("run-1")
    assert not prefect_api.is_healthy()
    assert not prefect_api.has_deployment("canary/davy")


def test_another_server_on_prefects_port_is_named(prefect: Prefect) -> None:
    prefect.answers["GET /flow_runs/run-1"] = [(200, "<html>somebody's wiki</html>")]
    with pytest.raises(
        PermanentError, match=f"port {settings().prefect_port}: found something that is not Prefect"
    ):
        prefect_api.read_run("run-1")


@pytest.mark.parametrize(
    ("kind", "over"),
    [("RUNNING", False), ("COMPLETED", True), ("FAILED", True), ("CRASHED", True), ("CANCELLED", True)],
)
def test_a_run_is_over_once_it_cannot_change(prefect: Prefect, kind: str, *, over: bool) -> None:
    prefect.answers["GET /flow_runs/run-1"] = [run_of("X", kind)]
    assert prefect_api.read_run("run-1").over is over
