"""What users notice of a service behind a real Envoy."""

from __future__ import annotations

import http.client
import json
import math
import threading
from collections import Counter
from datetime import timedelta

import pytest

from tasks.domain.errors import PermanentError, TransientError
from tasks.domain.model import Match, Slot, Split, Traffic
from tasks.domain.settings import settings
from tests.tasks.routers.rig import Load, Proxy, Replicas, Shop, ask, eventually

MOMENT = timedelta(seconds=10)


def test_split_is_within_chance(shop: Shop) -> None:
    """4,000 requests at 12.5 %: the candidate's count lies within five standard deviations."""
    shop.shift(1250)
    connection = http.client.HTTPConnection("127.0.0.1", shop.port)
    found: Counter[str] = Counter()
    for _ in range(4000):
        connection.request("GET", "/")
        found[connection.getresponse().read().decode()] += 1
    connection.close()
    assert found["v1"] + found["v2"] == 4000
    assert abs(found["v2"] - 500) < 5 * math.sqrt(4000 * 0.125 * 0.875)
    assert shop.router.live() == shop.split(1250)


def test_hundred_changes_fail_no_request(shop: Shop) -> None:
    with Load(shop.port) as load:
        for number in range(1, 101):
            shop.shift(number * 997 % 10_000)
    assert load.failures == []
    assert load.answers["v1"] > 100
    assert load.answers["v2"] > 100


def test_first_request_after_a_write_is_served_by_it(shop: Shop) -> None:
    """Back and forth: what a write returned for is what the next users get."""
    for _ in range(20):
        shop.shift(10_000)
        assert shop.versions(3) == {"v2": 3}
        shop.shift(0)
        assert shop.versions(3) == {"v1": 3}


def test_matches_go_to_the_candidate(shop: Shop, proxy: Proxy) -> None:
    matches = (Match("header", "x-tester", "yes"), Match("cookie", "team", "payments"))
    shop.router.write(Traffic(Split.all_to(Slot.BLUE), matched=Slot.CANDIDATE, matches=matches), shop.lease)
    assert shop.versions(5, {"x-tester": "yes"}) == {"v2": 5}
    assert shop.versions(5, {"cookie": "a=b; team=payments"}) == {"v2": 5}
    assert shop.versions(5, {"x-tester": "yes!"}) == {"v1": 5}
    assert shop.versions(5) == {"v1": 5}
    assert proxy.counter("cluster.shop/candidate/sent.upstream_rq_2xx") == 10
    assert proxy.counter("cluster.shop/candidate.upstream_rq_2xx") == 0


@pytest.mark.parametrize(("share", "least", "most"), [(10_000, 400, 400), (2500, 50, 150)])
def test_mirror_copies_and_users_see_nothing_of_it(shop: Shop, share: int, least: int, most: int) -> None:
    traffic = Traffic(Split.all_to(Slot.BLUE), mirror=Slot.CANDIDATE, mirror_share=share)
    shop.router.write(traffic, shop.lease)
    assert shop.versions(400) == {"v1": 400}
    assert shop.router.drain(Slot.CANDIDATE, MOMENT)
    seen = shop.replicas.seen(shop.candidate)
    assert least <= seen["copies"] <= most
    assert seen["requests"] == 0


def _pinned(shop: Shop, candidate: int, key: str = "r1") -> Traffic:
    return Traffic(shop.split(candidate), affinity="davy", affinity_key=key)


def test_affinity_keeps_users_while_the_share_grows_and_moves_all_back(shop: Shop) -> None:
    shop.router.write(_pinned(shop, 1000), shop.lease)
    first = [ask(shop.port) for _ in range(100)]
    cookies = [answer.cookie.partition(";")[0] if answer.cookie else "" for answer in first]
    assert {answer.text for answer in first} == {"v1", "v2"}
    shop.router.write(_pinned(shop, 5000), shop.lease)
    again = [ask(shop.port, headers={"cookie": cookie}) for cookie in cookies]
    assert [answer.text for answer in again] == [answer.text for answer in first]
    assert {answer.cookie for answer in again} == {None}, "a user who is pinned gets no new cookie"
    shop.router.write(_pinned(shop, 0), shop.lease)
    assert {ask(shop.port, headers={"cookie": cookie}).text for cookie in cookies} == {"v1"}


def test_affinity_counts_within_one_release_only(shop: Shop) -> None:
    shop.router.write(_pinned(shop, 10_000, "r1"), shop.lease)
    cookie = ask(shop.port).cookie
    assert cookie is not None
    assert cookie.startswith("davy=candidate.r1; Path=/; Max-Age=3600;")
    shop.router.write(_pinned(shop, 1, "r2"), shop.lease)
    assert ask(shop.port, headers={"cookie": "davy=candidate.r1"}).cookie is not None


def test_preview_reaches_what_users_do_not(shop: Shop) -> None:
    assert ask(shop.preview_port).status == 503
    shop.router.write(Traffic(Split.all_to(Slot.BLUE), preview=Slot.CANDIDATE), shop.lease)
    assert ask(shop.preview_port).text == "v2"
    assert shop.versions(20) == {"v1": 20}


def test_drain_waits_for_requests_in_flight(shop: Shop, proxy: Proxy) -> None:
    shop.shift(10_000)
    user = threading.Thread(target=lambda: ask(shop.port, "/slow"))
    user.start()
    eventually(lambda: proxy.counter("cluster.shop/candidate.upstream_rq_active") == 1, "one in flight")
    assert shop.router.drain(Slot.CANDIDATE, timedelta(0)) is False
    assert shop.router.drain(Slot.CANDIDATE, MOMENT) is True
    user.join()


def test_a_replica_taken_out_may_be_killed_at_once(shop: Shop, replicas: Replicas, proxy: Proxy) -> None:
    """One of two replicas goes while the other still has traffic: slow requests on both end well."""
    second = replicas.start("v1")
    shop.router.publish(Slot.BLUE, [shop.blue, second], shop.lease)
    answers: list[str] = []
    users = [threading.Thread(target=lambda: answers.append(ask(shop.port, "/slow").text)) for _ in range(10)]
    for user in users:
        user.start()
    eventually(lambda: proxy.counter("cluster.shop/blue.upstream_rq_active") == 10, "ten in flight")
    assert replicas.seen(second)["requests"] > 0
    shop.router.publish(Slot.BLUE, [shop.blue], shop.lease)
    replicas.kill(second)
    for user in users:
        user.join()
    assert answers == ["v1"] * 10


def test_replicas_swapped_under_load_fail_no_request(shop: Shop, replicas: Replicas) -> None:
    """All of a slot's replicas are replaced at once, three times; the old ones are killed."""
    old = shop.blue
    with Load(shop.port) as load:
        for number in range(3):
            new = replicas.start(f"swap{number}")
            shop.router.publish(Slot.BLUE, [new], shop.lease)
            assert shop.router.published(Slot.BLUE) == (new,)
            load.more(50)
            seen = replicas.seen(old)
            load.more(50)
            assert replicas.seen(old) == seen, "nobody gets to a replica that was taken out"
            replicas.kill(old)
            load.more(100)
            old = new
    assert load.failures == []
    assert set(load.answers) == {"v1", "swap0", "swap1", "swap2"}


def test_published_replicas_get_requests_at_once(shop: Shop, replicas: Replicas) -> None:
    second, third = replicas.start("second"), replicas.start("third")
    shop.router.publish(Slot.BLUE, [shop.blue, second], shop.lease)
    assert set(shop.versions(40)) == {"v1", "second"}
    shop.router.publish(Slot.BLUE, [shop.blue, second, third], shop.lease)
    assert set(shop.versions(60)) == {"v1", "second", "third"}


def test_killed_replica_costs_only_what_it_had_in_hand(shop: Shop, replicas: Replicas) -> None:
    """Users who come after the kill are answered by the other replica, before any health check."""
    second = replicas.start("v1")
    shop.router.publish(Slot.BLUE, [shop.blue, second], shop.lease)
    with Load(shop.port) as load:
        load.more(200)
        assert replicas.seen(second)["requests"] > 0
        replicas.kill(second)
        load.more(1000)
    assert len(load.failures) <= load.users


def test_publish_keeps_the_old_replica_until_the_new_one_is_healthy(shop: Shop, replicas: Replicas) -> None:
    gone = replicas.start("v1")
    replicas.kill(gone)
    with pytest.raises(TransientError, match=r"shop/blue: Envoy finds 0 of 2 replicas healthy"):
        shop.router.publish(Slot.BLUE, [gone], shop.lease)
    assert shop.versions(50) == {"v1": 50}


def test_share_without_replicas_is_refused(shop: Shop) -> None:
    with pytest.raises(PermanentError, match="shop/green: found no published replica"):
        shop.router.write(Traffic(Split({Slot.BLUE: 5000, Slot.GREEN: 5000})), shop.lease)
    assert shop.router.live() == Split.all_to(Slot.BLUE)


def test_refused_routes_leave_the_old_ones(shop: Shop, proxy: Proxy) -> None:
    shop.shift(3000)
    bad = Traffic(shop.split(9000), matched=Slot.CANDIDATE, matches=(Match("header", "x\n", "1"),))
    with pytest.raises(PermanentError, match=r"shop: Envoy refused the routes \(.*HeaderMatcher"):
        shop.router.write(bad, shop.lease)
    assert shop.router.live() == shop.split(3000)
    proxy.kill()
    proxy.start()
    assert shop.router.live() == shop.split(3000)


def test_envoy_killed_comes_back_with_the_same_routes(shop: Shop, proxy: Proxy) -> None:
    shop.shift(5000)
    proxy.kill()
    with pytest.raises(TransientError, match="envoy: "):
        shop.router.live()
    proxy.start()
    assert shop.router.live() == shop.split(5000)
    found = shop.versions(200)
    assert abs(found["v2"] - 100) < 5 * math.sqrt(200 * 0.25)


def test_access_log_names_who_answered(shop: Shop) -> None:
    assert ask(shop.port, "/cart?secret=1").text == "v1"
    shop.router.publish(Slot.BLUE, [], shop.lease)
    assert ask(shop.port, "/cart").status == 503
    path = settings().root / "logs" / "shop.access.log"
    eventually(lambda: path.read_text().count("\n") == 2, "two lines")
    served, refused = (json.loads(line) for line in path.read_text().splitlines())
    assert (served["cluster"], served["code"], served["version"]) == ("shop/blue", 200, "v1")
    assert (served["path"], served["upstream"]) == ("/cart", f"127.0.0.1:{shop.blue.port}")
    assert (refused["cluster"], refused["code"], refused["flags"]) == ("shop/blue", 503, "UH")
    assert 0 <= float(refused["at"]) - float(served["at"]) < 60
    assert refused["version"] is None
