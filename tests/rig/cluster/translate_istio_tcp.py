"""The TCP and TLS routes of a VirtualService: connections, not requests, are split."""

from __future__ import annotations

from tests.rig.cluster.translate_base import TYPE, Entry, Json, Unsupported, named, only_known
from tests.rig.cluster.translate_istio_match import applies
from tests.rig.cluster.translate_istio_rule import Destinations

_TCP_MATCH = {"port", "gateways", "sourceNamespace"}
_TLS_MATCH = {*_TCP_MATCH, "sniHosts"}


def tcp_chains(service: Json, entry: Entry, destinations: Destinations) -> list[Json]:
    """One filter chain: the first route that applies takes all connections.

    Raises:
        Unsupported: A route has something that is not translated; not retried.
    """
    for number, route in enumerate(service["spec"].get("tcp") or ()):
        where = f"{named(service)}: tcp[{number}]"
        only_known(where, route, {"match", "route"})
        for match in route.get("match") or [{}]:
            only_known(f"{where}.match", match, _TCP_MATCH)
            if applies(match, entry):
                return [chain(entry, _destinations(where, service, route, destinations))]
    return []


def tls_chains(service: Json, entry: Entry, destinations: Destinations) -> list[Json]:
    """One filter chain for each set of server names that a client may ask for, unopened.

    Raises:
        Unsupported: A route has something that is not translated; not retried.
    """
    found: dict[tuple[str, ...], Json] = {}
    for number, route in enumerate(service["spec"].get("tls") or ()):
        where = f"{named(service)}: tls[{number}]"
        only_known(where, route, {"match", "route"})
        for match in route.get("match") or ():
            only_known(f"{where}.match", match, _TLS_MATCH)
            names = tuple(match["sniHosts"])
            if applies(match, entry) and names not in found:
                found[names] = chain(entry, _destinations(where, service, route, destinations), names)
    return list(found.values())


def chain(entry: Entry, split: list[Json], names: tuple[str, ...] = ()) -> Json:
    """Connections to one cluster, or split; only those for *names*, where there are any."""
    target: Json = (
        {"cluster": split[0]["name"]} if len(split) == 1 else {"weighted_clusters": {"clusters": split}}
    )
    proxy = {"@type": f"{TYPE}extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": entry.name}
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy | target}]
    own = [name for name in names if name != "*"]
    return {"filters": filters, **({"filter_chain_match": {"server_names": own}} if own else {})}


def _destinations(where: str, service: Json, route: Json, destinations: Destinations) -> list[Json]:
    namespace = service["metadata"].get("namespace", "")
    wanted = route.get("route") or []
    split = []
    for number, one in enumerate(wanted):
        here = f"{where}.route[{number}]"
        only_known(here, one, {"destination", "weight"})
        name = destinations.cluster(one["destination"], namespace, f"{here}.destination")
        weight = 1 if len(wanted) == 1 else one.get("weight", 0)
        split += [{"name": name, "weight": weight}] if weight else []
    if not split:
        msg = f"{where}.route: total destination weight = 0, which Istio refuses"
        raise Unsupported(msg)
    return split
