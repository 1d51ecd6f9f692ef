"""What is particular to Istio: against a real API server with Istio's definitions, pods made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Thread

import pytest
from kubernetes import client

from tasks.cluster.cluster import Json, annotations_of
from tasks.cluster.kinds import DESTINATION_RULE, SERVICE, VIRTUAL_SERVICE
from tasks.cluster.labels import Marks
from tasks.domain.errors import InputError, LeaseLostError, TransientError
from tasks.domain.model import Match, Slot, Traffic
from tests.rig.stack import await_that
from tests.tasks.routers.borrowing import BLUE, TENTH, Stage, opened
from tests.tasks.routers.by_hand import plain
from tests.tasks.routers.crashes import Stale
from tests.tasks.routers.routes import ISTIO

pytestmark = pytest.mark.parametrize("stage", ["istio"], indirect=True)

MATCHES = (Match("header", "X-Tester", "yes"), Match("cookie", "beta", "1"))
POLICY = {"connectionPool": {"http": {"maxRetries": 1}}, "outlierDetection": {"consecutive5xxErrors": 5}}
RULE: Json = {
    "metadata": {"name": "own"},
    "spec": {
        "host": "shop",
        "exportTo": ["*"],
        "trafficPolicy": POLICY | {"loadBalancer": {"simple": "RANDOM"}},
        "subsets": [
            {
                "name": "v1",
                "labels": {"track": "own"},
                "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
            }
        ],
    },
}
OF_SLOT = {"exportTo": ["*"], "trafficPolicy": POLICY | {"loadBalancer": {"simple": "ROUND_ROBIN"}}}


def test_all_that_traffic_can_ask_for_is_accepted_by_the_server(stage: Stage) -> None:
    """And comes back as it was written, so that the same write again changes nothing."""
    spec = stage.original["spec"] | {"http": [stage.original["spec"]["http"][-1]]}
    stage.shop.world.change(VIRTUAL_SERVICE, "shop", lambda found: found | {"spec": spec})
    drawn = replace(TENTH, matched=Slot.CANDIDATE, matches=MATCHES, affinity="davy", affinity_key="shop-1")
    mirrored = replace(
        BLUE, matched=Slot.CANDIDATE, matches=MATCHES, mirror=Slot.CANDIDATE, mirror_share=1_250
    )
    for traffic in (drawn, mirrored):
        stage.router.write(traffic, stage.lease)
        before = stage.now
        assert before["spec"] == stage.router.routed(spec, traffic)
        stage.router.write(traffic, stage.lease)
        assert stage.now == before
        assert stage.router.live() == traffic.split
    assert before["spec"]["http"][-1]["mirrorPercentage"] == {"value": 12.5}


@pytest.mark.parametrize(
    "parts",
    [
        {"matches": [{"header": "x-tester", "value": "yes"}]},
        {"affinity": {"cookie": "davy"}},
        {"mirror": {"share": 10}},
    ],
)
def test_what_tcp_cannot_do_is_refused_before_anything_is_touched(
    stage: Stage, parts: dict[str, Json]
) -> None:
    spec = {key: stage.original["spec"][key] for key in ("hosts", "tcp")}
    stage.shop.world.change(VIRTUAL_SERVICE, "shop", lambda found: found | {"spec": spec})
    with pytest.raises(InputError) as refused:
        stage.opened(**parts).check()
    assert [refused.value.field] == list(parts)
    stage.opened().check()


def rule_of(stage: Stage, slot: Slot) -> Json | None:
    return stage.shop.world.read(DESTINATION_RULE, f"shop-{slot}")


def test_slots_have_the_users_destination_rule_as_long_as_they_have_a_service(stage: Stage) -> None:
    own = stage.shop.world.create(DESTINATION_RULE, RULE)
    stage.router.write(TENTH, stage.lease)
    for slot in (Slot.BLUE, Slot.CANDIDATE):
        found = rule_of(stage, slot)
        assert found
        assert found["spec"] == OF_SLOT | {"host": f"shop-{slot}"}
        (owner,) = found["metadata"]["ownerReferences"]
        assert owner["uid"] == stage.shop.world.need(SERVICE, f"shop-{slot}")["metadata"]["uid"]
    stage.router.write(BLUE, stage.lease)
    stage.router.publish(Slot.CANDIDATE, [], stage.lease)
    assert rule_of(stage, Slot.CANDIDATE) is None
    stage.shop.end(Slot.CANDIDATE)
    assert stage.router.give_back(stage.lease) is True
    assert rule_of(stage, Slot.BLUE) is None
    assert stage.shop.world.need(DESTINATION_RULE, "own") == own


def test_what_the_user_changes_in_the_rule_holds_for_the_slots_with_the_next_write(stage: Stage) -> None:
    world = stage.shop.world
    world.create(DESTINATION_RULE, RULE)
    stage.router.write(TENTH, stage.lease)
    before = rule_of(stage, Slot.BLUE)
    stage.router.write(TENTH, stage.lease)
    assert rule_of(stage, Slot.BLUE) == before
    world.change(
        DESTINATION_RULE, "own", lambda found: found | {"spec": {"host": "shop", "trafficPolicy": POLICY}}
    )
    stage.router.write(TENTH, stage.lease)
    found = rule_of(stage, Slot.BLUE)
    assert found
    assert found["spec"] == {"host": "shop-blue", "trafficPolicy": POLICY}
    world.delete(DESTINATION_RULE, "own")
    stage.router.write(TENTH, stage.lease)
    assert rule_of(stage, Slot.BLUE) is None


def test_the_rule_goes_with_a_service_that_somebody_deletes(stage: Stage) -> None:
    stage.shop.world.create(DESTINATION_RULE, RULE)
    stage.router.write(TENTH, stage.lease)
    stage.shop.world.delete(SERVICE, "shop-candidate")
    await_that(lambda: rule_of(stage, Slot.CANDIDATE) is None, within=30)


def test_a_rule_of_a_newer_carrier_is_left_alone(stage: Stage) -> None:
    stage.shop.world.create(DESTINATION_RULE, RULE)
    stage.router.write(TENTH, stage.succeed())
    before = rule_of(stage, Slot.BLUE)
    with pytest.raises(LeaseLostError):
        stage.router.prepare(stage.original["spec"], BLUE, Stale())
    assert rule_of(stage, Slot.BLUE) == before


def test_somebody_elses_rule_of_a_slots_name_is_refused(stage: Stage) -> None:
    spec = {"metadata": {"name": "shop-green"}, "spec": {"host": "other"}}
    made = stage.shop.world.create(DESTINATION_RULE, spec)
    with pytest.raises(InputError, match=r"router\.service: .*DestinationRule/.*/shop-green"):
        stage.router.check()
    assert stage.shop.world.need(DESTINATION_RULE, "shop-green") == made


def test_two_virtual_services_for_a_host_in_sidecars_are_refused(stage: Stage) -> None:
    """Although only one leads here: sidecars follow the older one alone."""
    spec = {"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "other"}}]}]}
    stage.shop.world.create(VIRTUAL_SERVICE, {"metadata": {"name": "other"}, "spec": spec})
    with pytest.raises(InputError, match=r"VirtualService/.*/other and VirtualService/.*/shop for shop\."):
        stage.router.check()
    gateway = spec | {"gateways": ["public"]}
    stage.shop.world.change(VIRTUAL_SERVICE, "other", lambda found: found | {"spec": gateway})
    stage.router.check()


@contextmanager
def istiod(stage: Stage, *, status: str = "True", behind: int = 0) -> Iterator[None]:
    """Says of each generation that it has passed it on."""
    over = Event()
    custom = client.CustomObjectsApi(stage.shop.world._api)

    def say() -> None:
        generation = stage.generation - behind
        conditions = [{"type": "Reconciled", "status": status, "observedGeneration": str(generation)}]
        said = {"status": {"conditions": conditions, "observedGeneration": generation}}
        custom.patch_namespaced_custom_object_status(
            "networking.istio.io", "v1", stage.shop.namespace, "virtualservices", "shop", said
        )

    def work() -> None:
        while not over.wait(0.05):
            say()

    say()
    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def quickly(stage: Stage) -> Stage:
    return replace(stage, router=opened(stage.shop, ISTIO.router | {"settle": "500ms"}))


def test_where_istiod_says_what_it_has_passed_on_a_write_waits_for_it(stage: Stage) -> None:
    with istiod(stage):
        stage.router.write(TENTH, stage.lease)
        assert int(stage.now["status"]["observedGeneration"]) == stage.generation


def test_a_write_that_istiod_does_not_pass_on_in_time_is_to_be_repeated(stage: Stage) -> None:
    with (
        istiod(stage, status="False"),
        pytest.raises(TransientError, match="generation 2 not Reconciled yet"),
    ):
        quickly(stage).router.write(TENTH, stage.lease)
    assert stage.router.live() == TENTH.split


def test_where_istiod_says_it_no_more_a_write_does_not_wait(stage: Stage) -> None:
    stage.shop.world.change(
        VIRTUAL_SERVICE, "shop", lambda found: found | {"spec": ISTIO.spec | {"hosts": ["a"]}}
    )
    with istiod(stage, behind=1):
        pass
    quickly(stage).router.write(TENTH, stage.lease)


def test_annotations_of_the_users_own_stay_while_borrowed(borrowed: Stage) -> None:
    said = annotations_of(borrowed.now)
    assert said["owner"] == "the web team"
    assert said[Marks.of("shop").release] == "first"
    assert plain(borrowed.now)["metadata"]["labels"] == {"team": "web"}


def test_affinity_of_another_release_does_not_hold(stage: Stage) -> None:
    """The way back moves everyone: no route is left that asks for the cookie."""
    stage.router.write(replace(TENTH, affinity="davy", affinity_key="shop-1"), stage.lease)
    assert "davy=candidate" in str(stage.now["spec"])
    stage.router.write(Traffic(BLUE.split), stage.lease)
    assert "davy=candidate" not in str(stage.now["spec"])
