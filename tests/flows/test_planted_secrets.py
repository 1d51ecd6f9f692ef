"""Every secret that Davy can be given is planted, by each way; it then is nowhere but where it belongs."""

from __future__ import annotations

import base64
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.nightly import nightly
from tasks import nightly as verbs
from tasks.domain.nightly import Night
from tasks.domain.settings import settings
from tasks.journal import journal_of
from tests.flows.planted_scene import LogLines, Scene, prefects
from tests.flows.planted_ways import a_cluster_that_refuses, a_night, a_release, some_commands, some_merges
from tests.rig.engine import run_as_scheduled, start_engine
from tests.rig.planted import leaks


@pytest.fixture
def scene(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free_port: Callable[[], int],
    request: pytest.FixtureRequest,
) -> Iterator[Scene]:
    start_engine(request)
    made = Scene(home, tmp_path, free_port)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tasks.promotion._answer", lambda _url, _timeout: "200")
    monkeypatch.setattr("tasks.traffic.POLL", 0.001)
    monkeypatch.setattr("flows.carry.PATIENCE", timedelta(0))
    monkeypatch.setattr("tasks.nightly.find_stable", lambda _file: (None, 2))
    monkeypatch.setattr("flows.waves.look", verbs.look.with_options(retries=0))
    monkeypatch.setattr("tasks.notify.delivery.FIRST_PAUSE", timedelta(milliseconds=20))
    auth = f"davy:{made.planted('prefect auth string')}"
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", auth)
    monkeypatch.setenv("DAVY_PREFECT_URL", str(PREFECT_API_URL.value()).removesuffix("/api"))
    settings.cache_clear()
    keep = LogLines(made.said)
    logging.getLogger().addHandler(keep)
    with temporary_settings({PREFECT_API_AUTH_STRING: auth}):
        yield made
    logging.getLogger().removeHandler(keep)


def test_planted_secrets_are_nowhere_but_where_they_belong(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    a_night(scene, monkeypatch)
    a_release(scene, monkeypatch)
    a_cluster_that_refuses(scene)
    some_merges(scene, monkeypatch)
    some_commands(scene)
    scene.said += capfd.readouterr()
    for place, names in scene.belongs.items():
        assert scene.planted.found_in(scene.outside[place]) >= names, f"{place}: nothing was tried"
    assert leaks(scene.planted, scene.places(), scene.belongs) == []


@pytest.mark.parametrize("where", ["journal", "database", "state folder", "output", "another server"])
def test_a_secret_that_leaks_is_found(scene: Scene, where: str, capfd: pytest.CaptureFixture[str]) -> None:
    secret = scene.planted("any")
    journal_of("shop", "r1").append("opened", reason=secret if where == "journal" else "")
    if where == "database":
        state = run_as_scheduled(nightly, {"services": [], "night": Night().model_dump(mode="json")})
        with get_client(sync_client=True) as client:
            client.update_flow_run(state.state_details.flow_run_id, name=secret)
    if where == "state folder":
        (scene.home / "told.json").write_text(base64.b64encode(f"davy:{secret}".encode()).decode())
    if where == "output":
        sys.stderr.write(secret)
        scene.said += capfd.readouterr()
    if where == "another server":
        scene.heard("elsewhere", secret.encode())
    assert prefects().stat().st_size
    found = leaks(scene.planted, scene.places(), scene.belongs)
    assert found
    assert all(one.endswith(" has any") for one in found)
