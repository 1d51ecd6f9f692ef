"""A service file that is wrong is refused with the field, what was found and what is expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.service_files import load
from tasks.domain.errors import FaultsError, InputError

MINIMAL = """
service: shop
strategy: {strategy}
fleet:
  command: serve --port {{port}}
router: {{port: 8080}}
"""
STRATEGIES = ["rolling", "blue-green", "canary", "blue-green-canary"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the service file is."""
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop"


def write(folder: Path, strategy: str = "canary", /, **more: object) -> Path:
    content = yaml.safe_load(MINIMAL.format(strategy=strategy))
    for field, value in more.items():
        inner = content
        *parts, last = field.split("__")
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = value
    path = folder / "shop.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_minimal_file_fits_on_a_screen(folder: Path, strategy: str) -> None:
    path = folder / "shop.yaml"
    path.write_text(MINIMAL.format(strategy=strategy))
    service = load(path)
    assert service.service == "shop"
    assert len(path.read_text().strip().splitlines()) <= 15


@pytest.mark.parametrize(
    ("directory", "expected"), [(".", "shop"), ("..", "."), ("code", "shop/code"), ("/srv", "/srv")]
)
def test_a_relative_directory_counts_from_the_files_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, directory: str, expected: str
) -> None:
    path = write(folder, fleet__directory=directory)
    monkeypatch.chdir(folder.parent)
    for given in (path, path.relative_to(folder.parent)):
        assert load(given).fleet.directory == str((folder.parent / expected).resolve())


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("canary", {"service": "Shop"}, "service: found 'Shop', expected to match"),
    ("canary", {"service": "a" * 41}, f"service: found '{'a' * 41}', expected to match"),
    ("canary", {"replicas": 0}, "replicas: found 0, expected greater than or equal to 1"),
    ("canary", {"replicas": "many"}, "replicas: found 'many', expected a valid integer"),
    ("canary", {"router": {}}, "router.port: found None, expected a value"),
    ("canary", {"router__port": 80}, "router.port: found 80, expected greater than or equal to 1024"),
    ("canary", {"router__kind": "traefik"}, "router.kind: found 'traefik', expected"),
    ("canary", {"router__timeout": "0s"}, "router.timeout: found 0s, expected a duration longer than 0s"),
    ("canary", {"router__timeout": 15}, "router.timeout: found 15, expected a number with a unit"),
    ("canary", {"fleet": {}}, "fleet.command: found None, expected a value"),
    ("canary", {"fleet__command": ""}, "fleet.command: found '', expected"),
    ("canary", {"fleet__health": {"path": "health"}}, "fleet.health.path: found 'health', expected to match"),
    (
        "canary",
        {"fleet__environment": {"PORT": 80}},
        "fleet.environment.PORT: found 80, expected a valid string",
    ),
    ("canary", {"fleet__healt": {}}, "fleet.healt: found {}, expected no such key; did you mean 'health'?"),
    ("canary", {"bake": "1m"}, "bake: found '1m', expected one of the keys abort_scale_down_delay,"),
    ("canary", {"steps": []}, "steps: found"),
    (
        "canary",
        {"steps": [{"share": 5}, {"share": 5}]},
        "steps.1.share: found 5% after 5%, expected shares that grow",
    ),
    ("canary", {"steps": [{"share": 0}]}, "steps.0.share: found 0%, expected more than 0%"),
    ("canary", {"steps": [{"share": 101}]}, "steps.0.share: found 101, expected a percentage from 0 to 100"),
    (
        "canary",
        {"steps": [{"share": 1e30}]},
        "steps.0.share: found 1e+30, expected a percentage from 0 to 100",
    ),
    (
        "canary",
        {"steps": [{"share": 5, "bake": "soon"}]},
        "steps.0.bake: found 'soon', expected a number with a unit",
    ),
    (
        "canary",
        {"steps": [{"share": 5, "bakes": "1m"}]},
        "steps.0.bakes: found '1m', expected no such key; did you mean 'bake'?",
    ),
    ("canary", {"promote": "maybe"}, "promote: found 'maybe', expected a valid boolean"),
    ("canary", {"on_failure": "panic"}, "on_failure: found 'panic', expected revert or freeze"),
    ("canary", {"on_crash": "wait"}, "on_crash: found 'wait', expected revert or resume"),
    (
        "canary",
        {"analysis__limits": {"errors": {"max": 1}}},
        "analysis.limits.errors: found 'errors', expected",
    ),
    (
        "canary",
        {"analysis__limits": {"error_rate": {}}},
        "analysis.limits.error_rate: found neither max nor min",
    ),
    (
        "canary",
        {"analysis__limits": {"error_rate": {"max": 1, "min": 2}}},
        "analysis.limits.error_rate: found min 2 above max 1, expected min <= max",
    ),
    (
        "canary",
        {"analysis__metrics": {"source": "prometheus"}},
        "analysis.metrics: found url None with source 'prometheus'",
    ),
    (
        "canary",
        {"analysis__metrics": {"url": "http://x"}},
        "analysis.metrics: found url 'http://x' with source 'envoy'",
    ),
    (
        "canary",
        {"matches": [{"value": "1"}]},
        "matches.0: found header None and cookie None, expected one of them",
    ),
    ("canary", {"mirror": {"share": 0}}, "mirror.share: found 0%, expected more than 0%"),
    ("canary", {"affinity": {"cookie": "a b"}}, "affinity.cookie: found 'a b', expected to match"),
    ("canary", {"hooks": {"before": "true"}}, "hooks.before: found 'true', expected"),
    (
        "rolling",
        {"max_surge": "some"},
        "max_surge: found 'some', expected a number of replicas or a percentage",
    ),
    (
        "rolling",
        {"max_surge": "101%"},
        "max_surge: found '101%', expected a number of replicas or a percentage",
    ),
    ("rolling", {"max_surge": -1}, "max_surge: found -1, expected a number of replicas or a percentage"),
    ("rolling", {"max_surge": "²"}, "max_surge: found '²', expected a number of replicas or a percentage"),
    (
        "rolling",
        {"max_surge": 0, "max_unavailable": 0},
        "found max_surge 0 and max_unavailable 0 replicas, expected room",
    ),
    (
        "rolling",
        {"max_surge": 1, "max_unavailable": "100%"},
        "found max_unavailable 2 of 2 replicas, expected one to stay",
    ),
    (
        "blue-green",
        {"preview": {"status": 99}},
        "preview.status: found 99, expected greater than or equal to 100",
    ),
    ("blue-green", {"watch": "0s"}, "watch: found 0s, expected a duration longer than 0s"),
    ("blue-green", {"steps": []}, "steps: found [], expected one of the keys"),
    ("blue-green-canary", {"trickle": {"share": 100}}, "trickle.share: found 100%, expected less than 100%"),
    ("blue-green-canary", {"trickle": {"share": 0}}, "trickle.share: found 0%, expected more than 0%"),
    ("blue-green-canary", {"trickle": {}}, "trickle.share: found None, expected a value"),
    (
        "purple",
        {},
        "strategy: found 'purple', expected one of rolling, blue-green, canary, blue-green-canary",
    ),
    ("canary", {"strategy": None}, "strategy: found None, expected one of rolling"),
    ("canary", {"strategy": ["canary"]}, "strategy: found ['canary'], expected one of rolling"),
    ("canary", {"scale_down_delay": "9" * 40 + "d"}, "scale_down_delay: found"),
    ("canary", {"router__preview_port": 8080}, "preview_port"),
    ("canary", {"analysis__limits": {}}, "analysis.limits: found"),
]


@pytest.mark.parametrize(("strategy", "more", "said"), WRONG, ids=[said[:50] for _, _, said in WRONG])
def test_what_is_wrong_is_named(folder: Path, strategy: str, more: dict[str, Any], said: str) -> None:
    path = write(folder, strategy, **more)
    with pytest.raises(InputError) as refused:
        load(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)
    assert "pydantic" not in str(refused.value)


def test_every_fault_is_said_at_once(folder: Path) -> None:
    path = write(folder, replicas=0, watch="soon", router__port=1)
    with pytest.raises(FaultsError) as refused:
        load(path)
    assert [fault.field for fault in refused.value.faults] == ["replicas", "router.port", "watch"]
    assert str(refused.value).startswith(f"{path} has 3 fault(s):")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "found 'NoneType', expected YAML with keys"),
        ("just words", "found 'str', expected YAML with keys"),
        ("- a\n- b", "found 'list', expected YAML with keys"),
        ("a: [", "YAML: "),
        ("a: b: c", "YAML: "),
        ("strategy: canary\n1: 2", "expected"),
        ("strategy: canary\nservice: &a [*a]", "expected"),
    ],
)
def test_what_is_no_service_file_is_said(folder: Path, content: str, said: str) -> None:
    path = folder / "shop.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as refused:
        load(path)
    assert said in str(refused.value)


def test_a_file_that_is_not_there_or_no_file_is_said(folder: Path) -> None:
    for path in (folder / "nowhere.yaml", folder):
        with pytest.raises(InputError, match="a file that can be read"):
            load(path)


def test_bytes_that_are_no_text_are_said(folder: Path) -> None:
    path = folder / "shop.yaml"
    path.write_bytes(b"\xff\xfe\x00service")
    with pytest.raises(InputError, match="YAML"):
        load(path)


def test_code_in_a_file_is_not_run(folder: Path) -> None:
    path = folder / "shop.yaml"
    path.write_text(f"service: !!python/object/apply:os.mkdir ['{folder}/made']")
    with pytest.raises(InputError):
        load(path)
    assert not (folder / "made").exists()
