"""What a DestinationRule says of the users' Service, for the Service of a slot. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tasks.cluster import Json
from tasks.domain.errors import InputError
from tasks.routers.istio_routes import FIELD
from tasks.routers.service_names import ServiceNames

_OF_ONE_HOST = ("host", "subsets", "trafficPolicy")


def rules_of(names: ServiceNames, rules: Sequence[Json]) -> list[Json]:
    """The user's own rules for the users' Service, oldest first, as Istio merges them."""
    found = [rule for rule in rules if names.is_users(rule["spec"]["host"])]
    return sorted(found, key=lambda rule: (rule["metadata"]["creationTimestamp"], rule["metadata"]["name"]))


def rule_spec(own: Sequence[Json], subsets: Collection[str], host: str) -> Json | None:
    """What the users' Service's rules say, for *host*; None where there are none.

    A slot's Service has no subsets: the policy of the one that routes name is merged into the whole's.

    Args:
        own: As `rules_of` gives them; the first to have a policy decides.
        subsets: Those that routes name.

    Raises:
        InputError: Routes name subsets with different policies; not retried.
    """
    if not own:
        return None
    spec = {key: value for key, value in own[0]["spec"].items() if key not in _OF_ONE_HOST}
    said = [rule["spec"]["trafficPolicy"] for rule in own if rule["spec"].get("trafficPolicy")]
    policy = (said[0] if said else {}) | _policy_of(own, subsets)
    return spec | {"host": host} | ({"trafficPolicy": policy} if policy else {})


def _policy_of(own: Sequence[Json], subsets: Collection[str]) -> Json:
    """The traffic policy that the named subsets have in common."""
    found: dict[str, Json] = {}
    for rule in own:
        for subset in rule["spec"].get("subsets") or []:
            if subset["name"] in subsets:
                found.setdefault(subset["name"], subset.get("trafficPolicy") or {})
    policies = list(found.values())
    if any(policy != policies[0] for policy in policies):
        names = ", ".join(sorted(found))
        raise InputError(
            FIELD, f"routes to subsets ({names}) with different traffic policies", "the same ones"
        )
    return policies[0] if policies else {}
