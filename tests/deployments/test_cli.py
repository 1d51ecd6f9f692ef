"""What people type: verbs, their output and exit codes. Prefect is a small HTTP server here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from deployments import acts, prefect_api
from deployments.cli import app
from tasks.domain.errors import InputError
from tasks.domain.model import Outcome, Revision, Slot, Split, Traffic
from tasks.journal import journal_of
from tasks.opening import open_release
from tasks.record import Opening, Record
from tasks.release import Carrier
from tests.rig.fakes import make_service, make_world
from tests.rig.small_prefect import Prefect, run_of, small_prefect
from tests.rig.world import World


@pytest.fixture
def prefect(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect]:
    """A server in place of Prefect's; asked again quickly."""
    del home
    monkeypatch.setattr("deployments.prefect_api.time.sleep", lambda _seconds: None)
    with small_prefect() as server:
        yield server


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A service whose v1 is stable, and a stack that is up."""
    del home
    monkeypatch.setattr("deployments.stack.is_up", lambda: True)
    made = make_world(monkeypatch)
    made.have_stable(2)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A service file."""
    path = tmp_path / "shop.yaml"
    path.write_text(yaml.safe_dump(make_service("canary", replicas=2).model_dump(mode="json")))
    return path


def davy(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def under_way() -> Carrier:
    """A release whose candidate has half of the requests."""
    carrier = open_release("r1", "canary", make_service("canary"), "v2")
    carrier.fleet.deploy(Revision("shop", Slot.CANDIDATE, "v2"), 1, carrier.lease)
    carrier.publish(Revision("shop", Slot.CANDIDATE, "v2"))
    carrier.write("intent", "shift-traffic-candidate-50%")
    carrier.send(Traffic(Split({Slot.BLUE: 5000, Slot.CANDIDATE: 5000})))
    return carrier


def test_a_release_is_started_with_file_version_and_an_id_of_its_own(
    prefect: Prefect, world: World, file: Path
) -> None:
    del world
    prefect.answers["POST /deployments/d1/create_flow_run"] = [run_of("Scheduled", "SCHEDULED")]
    found = davy("release", file, "--version", "v2", "--detach", "--json")
    assert found.exit_code == 0
    started = json.loads(found.stdout)
    assert (started["service"], started["version"], started["run"]) == ("shop", "v2", "run-1")
    _, body = prefect.asked[-1]
    assert body["parameters"]["release"] == started["release"] == body["idempotency_key"]
    assert body["parameters"]["service"]["strategy"] == "canary"


def test_a_release_of_what_is_stable_is_refused_before_anything_is_touched(
    prefect: Prefect, world: World, file: Path
) -> None:
    found = davy("release", file, "--version", "v1")
    assert found.exit_code == 2
    assert "version: found 'v1', expected a version other than the stable one" in found.stderr
    assert [key for key, _ in prefect.asked if key.startswith("POST")] == []
    assert world.changes == 0


ENDS = [
    (Outcome.PROMOTED, 0),
    (Outcome.TRIED, 0),
    (Outcome.ROLLED_BACK, 3),
    (Outcome.REJECTED, 4),
    (Outcome.ABORTED, 4),
    (Outcome.FAILED, 1),
    (Outcome.FROZEN, 1),
]


@pytest.mark.parametrize(("outcome", "code"), ENDS)
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_the_exit_code_says_how_a_release_ended(
    prefect: Prefect,
    world: World,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    outcome: Outcome,
    code: int,
    words: tuple[str, ...],
) -> None:
    del world
    prefect.answers["POST /deployments/d1/create_flow_run"] = [run_of("Scheduled", "SCHEDULED")]
    monkeypatch.setattr(acts, "new_id", lambda _service, _version: "r1")

    def carry(*_words: object, **_more: object) -> prefect_api.FlowRun:
        opening = Opening("canary", make_service("canary"), "v2", Revision("shop", Slot.BLUE, "v1"), 2)
        journal_of("shop", "r1").append("opened", **opening.to_json())
        journal_of("shop", "r1").append("intent", "bake-[5%]-1")
        journal_of("shop", "r1").append("ended", outcome=outcome, message="because [/] of this")
        return prefect_api.FlowRun("run-1", "SCHEDULED", "Scheduled", "")

    monkeypatch.setattr(prefect_api, "create_run", carry)
    found = davy("release", file, "--version", "v2", *words)
    assert found.exit_code == code
    if words:
        result = json.loads(found.stdout)
        assert (result["outcome"], result["message"]) == (outcome, "because [/] of this")
    else:
        assert outcome in found.stdout
        assert "because [/] of this" in found.stdout
        assert "bake-[5%]-1" in found.stdout


@pytest.mark.parametrize(
    ("message", "code"),
    [("ConflictError: another one", 2), ("InputError: version", 2), ("TypeError: a fault of ours", 1)],
)
def test_a_run_that_ends_before_the_release_began_says_why(
    prefect: Prefect, world: World, file: Path, message: str, code: int
) -> None:
    """Only what was refused is bad input."""
    del world
    prefect.answers["POST /deployments/d1/create_flow_run"] = [run_of("Scheduled", "SCHEDULED")]
    prefect.answers["GET /flow_runs/run-1"] = [run_of("Failed", "FAILED", message)]
    found = davy("release", file, "--version", "v2")
    assert found.exit_code == code
    assert message in found.stdout


def test_a_plan_shows_each_step_and_touches_nothing(world: World, file: Path) -> None:
    found = davy("plan", file, "--version", "v2", "--json")
    assert found.exit_code == 0
    plan = json.loads(found.stdout)
    assert (plan["service"], plan["stable"], plan["version"]) == ("shop", "v1", "v2")
    assert [step["share"] for step in plan["steps"]] == [5.0, 25.0, 50.0, 100.0]
    assert plan["replicas_at_most"] == 5
    shown = davy("plan", file, "--version", "v2").stdout
    assert "v1 → v2" in shown
    assert "50%" in shown
    assert world.changes == 0


@pytest.mark.parametrize("verb", ["plan", "release"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("strategy: purple", "strategy: found 'purple', expected one of rolling"),
        ("strategy: '[/x]'", "strategy: found '[/x]', expected one of rolling"),
        ("strategy: canary\nservice: '[red]'", "service: found '[red]'"),
    ],
)
def test_a_wrong_file_ends_with_code_2_and_names_the_field(
    home: Path, tmp_path: Path, verb: str, content: str, said: str
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    found = davy(verb, path, "--version", "v2")
    assert found.exit_code == 2
    assert said in found.stderr
    assert "Traceback" not in found.stderr
    assert not home.exists()


def test_the_status_shows_split_replicas_and_step(world: World) -> None:
    del world
    assert "No service was released here yet." in davy("status").stdout
    carrier = under_way()
    (status,) = json.loads(davy("status", "--json").stdout)
    assert status == {
        "service": "shop",
        "split": "blue 50%, candidate 50%",
        "replicas": {"blue@v1": "2/2 healthy", "candidate@v2": "1/1 healthy"},
        "release": "r1",
        "state": "under way: shift-traffic-candidate-50%",
    }
    assert "under way" in davy("status").stdout
    carrier.end(Outcome.PROMOTED, "")
    (status,) = json.loads(davy("status", "--json").stdout)
    assert status["state"] == "Promoted"


def test_an_abort_takes_back_by_itself_where_no_watcher_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "ABORT_WITHIN", timedelta(seconds=0.2))
    under_way()
    found = davy("abort", "shop", "--by", "Ada")
    assert found.exit_code == 0
    assert "Aborted: aborted by Ada" in found.stdout
    assert world.traffic
    assert world.traffic.split == Split.all_to(Slot.BLUE)
    asked = Record.read(journal_of("shop", "r1")).abort_asked
    assert asked
    assert asked.data == {"by": "Ada"}


def test_an_abort_thaws_what_was_left_frozen(world: World) -> None:
    carrier = under_way()
    carrier.end(Outcome.FROZEN, "left as it is")
    found = davy("abort", "shop", "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["outcome"] == "Aborted"
    assert world.traffic
    assert world.traffic.split == Split.all_to(Slot.BLUE)


@pytest.mark.parametrize("service", ["shop", "nobody"])
def test_there_must_be_a_release_to_abort(world: World, service: str) -> None:
    del world
    under_way().end(Outcome.PROMOTED, "")
    found = davy("abort", service)
    assert found.exit_code == 2
    assert f"service: found '{service}', expected a service with a release under way" in found.stderr


def test_there_must_be_a_version_to_roll_back_to(world: World) -> None:
    del world
    found = davy("rollback", "shop")
    assert found.exit_code == 2
    assert "a promoted release" in found.stderr


def test_a_service_name_cannot_lead_out_of_the_folder(world: World) -> None:
    del world
    for verb in ("abort", "rollback"):
        assert davy(verb, "../../etc").exit_code == 2


def test_the_schema_is_json_for_editors() -> None:
    schema = json.loads(davy("schema").stdout)
    assert schema["discriminator"]["propertyName"] == "strategy"


@pytest.mark.parametrize(
    "verb",
    [
        "",
        "up",
        "down",
        "release",
        "plan",
        "status",
        "abort",
        "rollback",
        "schema",
        "demo",
        "judge",
        "backtest",
        "report",
    ],
)
def test_every_verb_has_help(verb: str) -> None:
    found = davy(*verb.split(), "--help")
    assert found.exit_code == 0
    assert "Usage" in found.stdout


def test_ids_of_releases_are_readable_and_never_the_same() -> None:
    ids = {acts.new_id("shop", "Feature/Über 1.4") for _ in range(50)}
    assert len(ids) == 50
    assert all(one.startswith("shop-feature-ber-1.4-20") for one in ids)
    assert len(acts.new_id("shop", "x" * 300)) < 100


def test_an_id_can_be_made_of_any_version() -> None:
    assert "/" not in acts.new_id("shop", "../../etc/passwd")
    with pytest.raises(InputError):
        acts.abort("shop", "Ada")
