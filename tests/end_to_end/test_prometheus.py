"""The same canary, good and bad, judged by what a real Prometheus has counted.

Once by limits, once by a Kayenta canary config whose queries that Prometheus answers.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.rig import properties
from tests.rig.recorder import ask
from tests.rig.services import LIMITS, promises, shop
from tests.rig.stack import ROOT, Davy, await_that
from tests.rig.stage import FIRST, Stage, Story

GOOD, BAD = "2.0", "2.0-errors"
CONFIG = ROOT / "infra" / "local" / "prometheus.yml"
CANARY = ROOT / "deployments" / "examples" / "shop.canary.json"
TWENTY_POINTS = {"steps": [{"share": 25, "bake": "20s"}]}


@pytest.fixture(scope="module")
def prometheus(davy: Davy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that scrapes the stack's Envoy; its address."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus: found none on PATH, expected the server's program")
    folder = tmp_path_factory.mktemp("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.read_text().replace("127.0.0.1:9901", f"127.0.0.1:{davy.envoy_port}"))
    port = next(davy.ports)
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    options.append(f"--web.listen-address=127.0.0.1:{port}")
    with Path(folder / "log").open("w") as log, subprocess.Popen([program, *options], stderr=log) as process:
        try:
            await_that(lambda: is_ready(port), what="Prometheus")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def is_ready(port: int) -> bool:
    """Whether it answers."""
    try:
        return ask(port, "/-/ready")[0] == 200
    except (OSError, HTTPException):
        return False


@pytest.fixture(scope="module")
def stories(davy: Davy, prometheus: str) -> Iterator[dict[str, Story]]:
    """By service."""
    scraped = {"interval": "500ms", "limits": LIMITS, "metrics": {"source": "prometheus", "url": prometheus}}
    by_config = {
        "limits": {"restarts": {"max": 0}},
        "compare": {},
        "canary": {"config": str(CANARY), "url": prometheus, "step": "1s"},
    }
    contents = [
        shop(f"{name}-{kind}", strategy="canary", port=next(davy.ports), home=davy.home, **own)
        for name, own in {
            "scraped": {"analysis": scraped},
            "config": {"analysis": by_config, **TWENTY_POINTS},
        }.items()
        for kind in ("good", "bad")
    ]
    with Stage(davy, contents, rate=60) as stage:
        stage.release_all(
            {one["service"]: GOOD if one["service"].endswith("good") else BAD for one in contents}
        )
        for one in contents:
            stage.settle(one["service"], GOOD if one["service"].endswith("good") else FIRST)
        yield {one["service"]: stage.story(one["service"]) for one in contents}


def test_the_good_version_is_promoted_and_fails_nothing(stories: dict[str, Story]) -> None:
    story = stories["scraped-good"]
    assert story.said.json["outcome"] == "Promoted"
    assert story.users.failures == ()
    assert properties.unpromised_shares(story.plateaus, promises(story.content), whole=True) == []


def test_the_bad_version_is_taken_back(stories: dict[str, Story]) -> None:
    story = stories["scraped-bad"]
    assert (story.said.code, story.said.json["outcome"]) == (3, "RolledBack")
    assert "error_rate of " in story.said.json["message"]
    assert properties.blameless(story.requests, story.old) == []
    assert properties.back_since(story.looks, story.stable) < story.said.at + 1


def test_a_canary_config_lets_the_good_version_through(stories: dict[str, Story]) -> None:
    story = stories["config-good"]
    assert (story.said.code, story.said.json["outcome"]) == (0, "Promoted"), story.said
    assert story.users.failures == ()


def test_a_canary_config_takes_the_bad_version_back_and_says_which_metric(stories: dict[str, Story]) -> None:
    story = stories["config-bad"]
    assert (story.said.code, story.said.json["outcome"]) == (3, "RolledBack")
    assert "canary config shop: critical: errors rose from 0 to " in story.said.json["message"]
    assert properties.blameless(story.requests, story.old) == []
