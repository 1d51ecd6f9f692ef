"""The same canary, good and bad, judged by what a real Prometheus has counted."""

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
    """By version; both released side by side."""
    analysis = {"interval": "500ms", "limits": LIMITS, "metrics": {"source": "prometheus", "url": prometheus}}
    contents = [
        shop(name, strategy="canary", port=next(davy.ports), home=davy.home, analysis=analysis)
        for name in ("scraped-good", "scraped-bad")
    ]
    with Stage(davy, contents, rate=60) as stage:
        stage.release_all({"scraped-good": GOOD, "scraped-bad": BAD})
        stage.settle("scraped-good", GOOD)
        stage.settle("scraped-bad", FIRST)
        yield {GOOD: stage.story("scraped-good"), BAD: stage.story("scraped-bad")}


def test_the_good_version_is_promoted_and_fails_nothing(stories: dict[str, Story]) -> None:
    story = stories[GOOD]
    assert story.said.json["outcome"] == "Promoted"
    assert story.users.failures == ()
    assert properties.unpromised_shares(story.plateaus, promises(story.content), whole=True) == []


def test_the_bad_version_is_taken_back(stories: dict[str, Story]) -> None:
    story = stories[BAD]
    assert (story.said.code, story.said.json["outcome"]) == (3, "RolledBack")
    assert "error_rate of " in story.said.json["message"]
    assert properties.blameless(story.requests, story.old) == []
    assert properties.back_since(story.looks, story.stable) < story.said.at + 1
