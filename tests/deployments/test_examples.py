"""The example service files are valid, and together usable on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deployments.service_files import load
from tasks.domain.spec import Canary

FILES = sorted((Path(__file__).parents[2] / "deployments" / "examples").glob("*.yaml"))
SHOPS = [path for path in FILES if path.stem.startswith("shop-")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_valid_and_starts_from_the_projects_root(path: Path) -> None:
    service = load(path)
    script = service.fleet.command.split()[1]
    assert (path.parent / service.fleet.directory / script).is_file()


def test_every_strategy_has_an_example_of_its_own_name() -> None:
    strategies = {path.stem: yaml.safe_load(path.read_text())["strategy"] for path in SHOPS}
    assert strategies == {
        f"shop-{name}": name for name in ("rolling", "blue-green", "canary", "blue-green-canary")
    }


def test_no_two_examples_share_a_name_or_a_port() -> None:
    services = [load(path) for path in FILES]
    ports = [port for one in services for port in (one.router.port, one.router.preview_port) if port]
    assert len({one.service for one in services}) == len(services)
    assert len(set(ports)) == len(ports)


def test_a_canary_step_sees_enough_requests_to_be_judged() -> None:
    """At the demo's 80 requests a second and more, the first step must not be inconclusive."""
    service = load(next(path for path in SHOPS if path.stem == "shop-canary"))
    assert isinstance(service, Canary)
    first = service.steps[0]
    expected = 80 * first.share / 10_000 * first.bake.total_seconds()
    assert expected * 0.9 > max(limit.min_requests for limit in service.analysis.limits.values())


def test_the_quickstart_fits_in_fifteen_lines() -> None:
    text = (FILES[0].parent / "quickstart.yaml").read_text()
    assert sum(not line.startswith("#") for line in text.splitlines()) < 15
