"""What is particular to the Gateway API: against a real API server with its definitions, pods made by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import pytest
from kubernetes import client

from tasks.cluster.cluster import Json
from tasks.domain.errors import DavyError, InputError, PermanentError, TransientError
from tasks.domain.model import Match, Slot
from tasks.routers.gateway_api import BACKEND_TLS
from tests.rig.cluster.control_plane import Cluster as Api
from tests.rig.stack import await_that
from tests.tasks.routers.borrowing import BLUE, HALF, TENTH, Stage, opened
from tests.tasks.routers.by_hand import plain
from tests.tasks.routers.gateway_routes import HTTP

http = pytest.mark.parametrize("stage", ["http_route"], indirect=True)
grpc = pytest.mark.parametrize("stage", ["grpc_route"], indirect=True)
either = pytest.mark.parametrize("stage", ["http_route", "grpc_route"], indirect=True)

HEADER, COOKIE = Match("header", "X-Tester", "yes"), Match("cookie", "beta", "1")


def asks_for(stage: Stage, *traffic: Any) -> None:  # noqa: ANN401
    """Each is accepted by the server and comes back as it was written, so that the same write changes nothing."""
    for one in traffic:
        stage.router.write(one, stage.lease)
        before = stage.now
        assert before["spec"] == stage.router.routed(stage.original["spec"], one)
        stage.router.write(one, stage.lease)
        assert stage.now == before
        assert stage.router.live() == one.split


@http
def test_all_that_traffic_can_ask_for_is_accepted_by_the_server(stage: Stage) -> None:
    matched = {"matched": Slot.CANDIDATE, "matches": (HEADER, COOKIE)}
    asks_for(
        stage,
        replace(TENTH, **matched, affinity="davy", affinity_key="shop-1"),
        *(
            replace(BLUE, **matched, mirror=Slot.CANDIDATE, mirror_share=share)
            for share in (10_000, 2_500, 1)
        ),
    )


@grpc
def test_what_traffic_can_ask_of_grpc_is_accepted_by_the_server(stage: Stage) -> None:
    matched = {"matched": Slot.CANDIDATE, "matches": (HEADER,)}
    asks_for(stage, replace(TENTH, **matched), replace(BLUE, mirror=Slot.CANDIDATE, mirror_share=1_250))


@grpc
@pytest.mark.parametrize(
    "parts", [{"matches": [{"cookie": "beta", "value": "1"}]}, {"affinity": {"cookie": "davy"}}]
)
def test_grpc_has_no_cookies(stage: Stage, parts: dict[str, Json]) -> None:
    with pytest.raises(InputError, match="gRPC has no cookies") as refused:
        stage.opened(**parts).check()
    assert [refused.value.field] == list(parts)
    stage.opened(matches=[{"header": "x-tester", "value": "yes"}], mirror={"share": 10}).check()


PARENT: Json = {
    "controllerName": "example.com/gateway",
    "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"},
}


def say(stage: Stage, generation: int, said: Mapping[str, str]) -> None:
    """Write into the status what the one parent makes of that generation."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": "Because",
            "message": f"{kind} is {status}",
            "observedGeneration": generation,
            "lastTransitionTime": now,
        }
        for kind, status in said.items()
    ]
    status = {"status": {"parents": [PARENT | {"conditions": conditions}]}}
    client.CustomObjectsApi(stage.shop.world._api).patch_namespaced_custom_object_status(
        stage.route.kind.group, "v1", stage.shop.namespace, stage.route.kind.plural, "shop", status
    )


GOOD = {"Accepted": "True", "ResolvedRefs": "True"}
Opinion = Callable[[Json], Mapping[str, str]]


@contextmanager
def controller(stage: Stage, opinion: Opinion = lambda _: GOOD) -> Iterator[None]:
    """Says of each generation what it makes of its spec."""
    over = Event()

    def work() -> None:
        while not over.wait(0.05):
            now = stage.now
            say(stage, now["metadata"]["generation"], opinion(now["spec"]))

    say(stage, stage.generation, opinion(stage.now["spec"]))
    thread = Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def against(kind: str, share: str) -> Opinion:
    """Content with all but a candidate that has that weight."""

    def opinion(spec: Json) -> Mapping[str, str]:
        weights = {one["name"]: one.get("weight") for one in spec["rules"][-1]["backendRefs"]}
        return GOOD | ({kind: "False"} if str(weights.get("shop-candidate")) == share else {})

    return opinion


def quickly(stage: Stage) -> Stage:
    return replace(stage, router=opened(stage.shop, HTTP.router | {"settle": "700ms"}))


@either
def test_a_write_waits_until_every_parent_says_that_it_serves_it(stage: Stage) -> None:
    with controller(stage):
        stage.router.write(TENTH, stage.lease)
        (parent,) = stage.now["status"]["parents"]
        assert [one["observedGeneration"] for one in parent["conditions"]] == [stage.generation] * 2


@either
@pytest.mark.parametrize("kind", sorted(GOOD))
def test_what_a_parent_refuses_is_taken_back(stage: Stage, kind: str) -> None:
    """And with it all that says that the route is borrowed."""
    expected = rf"shop: not {kind} by Gateway/public \(Because: {kind} is False\), expected it to be served"
    with controller(stage, against(kind, "10")), pytest.raises(PermanentError, match=expected):
        quickly(stage).router.write(TENTH, stage.lease)
    assert plain(stage.now) == plain(stage.original)


@either
def test_a_borrowed_route_goes_back_to_what_was_served_before(borrowed: Stage) -> None:
    before = borrowed.now
    with controller(borrowed, against("ResolvedRefs", "50")), pytest.raises(PermanentError):
        quickly(borrowed).router.write(HALF, borrowed.lease)
    assert plain(borrowed.now) == plain(before)
    assert borrowed.router.live() == TENTH.split


@http
def test_what_was_not_served_before_either_is_not_put_back(borrowed: Stage) -> None:
    """As on the way back, when the gateway itself is broken: stable is the better choice."""
    bad: Opinion = lambda _: GOOD | {"Accepted": "False"}  # noqa: E731
    with controller(borrowed, bad), pytest.raises(PermanentError, match="not Accepted"):
        quickly(borrowed).router.write(BLUE, borrowed.lease)
    assert borrowed.router.live() == BLUE.split


@http
def test_a_write_that_no_controller_has_looked_at_in_time_is_to_be_repeated(stage: Stage) -> None:
    say(stage, stage.generation, GOOD)
    with pytest.raises(TransientError, match="generation 2 not looked at by every controller yet"):
        quickly(stage).router.write(TENTH, stage.lease)
    assert stage.router.live() == TENTH.split
    with controller(stage):
        stage.router.write(TENTH, stage.lease)


@http
def test_a_parent_that_says_nothing_any_more_is_not_waited_for(borrowed: Stage) -> None:
    say(borrowed, borrowed.generation - 1, GOOD)
    quickly(borrowed).router.write(HALF, borrowed.lease)
    assert borrowed.router.live() == HALF.split


@http
def test_a_server_that_knows_no_shares_of_mirrors_gets_none(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It drops them, and would copy every request."""
    real = stage.router.cluster._call

    def dropping(kind: Any, subject: str, verb: str, **options: Any) -> Json | None:  # noqa: ANN401
        for rule in options["body"]["spec"].get("rules", ()) if verb == "replace" else ():
            for one in rule.get("filters") or ():
                one.get("requestMirror", {}).pop("percent", None)
        return real(kind, subject, verb, **options)

    monkeypatch.setattr(stage.router.cluster, "_call", dropping)
    mirrored = replace(BLUE, mirror=Slot.CANDIDATE, mirror_share=2_500)
    with pytest.raises(InputError, match=r"mirror\.share: found '25%', expected 100%, or a server"):
        stage.router.write(mirrored, stage.lease)
    assert plain(stage.now) == plain(stage.original)
    stage.router.write(replace(mirrored, mirror_share=10_000), stage.lease)


@pytest.fixture
def policies(cluster: Api) -> None:
    """The server knows BackendTLSPolicy, as far as it matters here."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": BACKEND_TLS.name, "plural": BACKEND_TLS.plural, "singular": "backendtlspolicy"}
    spec = {"group": BACKEND_TLS.group, "scope": "Namespaced", "names": names, "versions": [version]}
    about = {
        "name": f"{BACKEND_TLS.plural}.{BACKEND_TLS.group}",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
    }
    with suppress(client.ApiException):  # another test has made it
        client.ApiextensionsV1Api(cluster.api).create_custom_resource_definition(
            {"metadata": about, "spec": spec}
        )


@http
def test_a_policy_that_asks_for_tls_to_the_service_is_refused(stage: Stage, policies: None) -> None:
    """It is bound to the Service's name, and the slots' Services have others."""
    del policies
    world = stage.shop.world
    await_that(lambda: world.knows(BACKEND_TLS), within=20)
    target = {"group": "", "kind": "Service", "name": "other"}
    policy = {"metadata": {"name": "tls"}, "spec": {"targetRefs": [target]}}
    await_that(lambda: _created(stage, policy), within=20)
    stage.router.check()
    target["name"] = "shop"
    world.change(BACKEND_TLS, "tls", lambda found: found | {"spec": policy["spec"]})
    with pytest.raises(InputError, match=r"router\.service: found 'shop with BackendTLSPolicy/.*/tls'"):
        stage.router.check()


def _created(stage: Stage, policy: Json) -> bool:
    """A definition that is listed may not be served yet."""
    try:
        stage.shop.world.create(BACKEND_TLS, policy)
    except DavyError:
        return False
    return True
