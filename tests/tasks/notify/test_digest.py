"""The digest of a night: whom to look at comes first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.domain.errors import InputError
from tasks.notify.digest import digest
from tests.tasks.notify.releases import LINKS

AT = datetime(2026, 11, 27, 6, 0, tzinfo=UTC)


def one(service: str, outcome: str | None = "Promoted", **more: object) -> dict[str, Any]:
    return {
        "service": service,
        "version": "2.0",
        "decision": "released" if outcome else "skipped",
        "reason": None,
        "outcome": outcome,
        "seconds": 61.4 if outcome else None,
        "run": f"run-{service}" if outcome else None,
        **more,
    }


def night(*services: dict[str, Any]) -> dict[str, Any]:
    return {"date": "2026-11-27", "services": list(services)}


def test_a_good_night_needs_nobody() -> None:
    told = digest(night(one("shop"), one("cart"), one("mail", None, reason="nothing new")), LINKS, at=AT)
    assert told.headline == "The night of 2026-11-27: 2 Promoted, 1 not released. Nothing to do."
    assert told.details == (
        "mail 2.0: skipped: nothing new",
        "cart 2.0: Promoted after 0:01:01",
        "shop 2.0: Promoted after 0:01:01",
    )
    assert [link.url for link in told.links] == [
        "https://prefect.example/run/run-cart",
        "https://prefect.example/run/run-shop",
    ]
    assert (told.is_call, told.event, told.at) == (False, "digest", AT)


def test_what_a_person_has_to_look_at_comes_first() -> None:
    services = (one("a"), one("b", "RolledBack", reason="5 % failed"), one("c", "Frozen"), one("d", None))
    told = digest(night(*services), LINKS)
    assert told.headline == (
        "Look now: c 2.0. The night of 2026-11-27: 1 Promoted, 1 RolledBack, 1 Frozen, 1 not released."
    )
    assert [line[0] for line in told.details] == ["c", "b", "d", "a"]
    assert told.is_call


def test_what_went_back_is_named() -> None:
    told = digest(night(one("a"), one("b", "RolledBack", reason="5 % failed")), LINKS)
    assert (
        told.headline == "The night of 2026-11-27: 1 Promoted, 1 RolledBack. Went back: b 2.0. Nothing to do."
    )
    assert told.details[0] == "b 2.0: RolledBack after 0:01:01: 5 % failed"


def test_a_night_has_one_id_whatever_is_told_of_it() -> None:
    assert digest(night(one("a")), LINKS).id == digest(night(), LINKS).id
    assert digest(night(), LINKS).headline == "The night of 2026-11-27: nothing was due. Nothing to do."
    assert digest({"date": "2026-11-28", "services": []}, LINKS).id != digest(night(), LINKS).id


def test_a_long_night_is_cut_and_says_so() -> None:
    told = digest(night(*[one(f"s{number}") for number in range(100)]), LINKS)
    assert told.details[-1] == "... and 40 more"


@pytest.mark.parametrize(
    ("report", "field"),
    [
        ({"services": []}, "date"),
        ({"date": "2026-11-27", "services": [{"version": "1"}]}, "services.0.service"),
        (night(one("a", "Exploded")), "services.0.outcome"),
    ],
)
def test_a_report_of_another_shape_is_refused_naming_the_field(report: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        digest(report, LINKS)
    assert caught.value.field == field
