"""ConfigMaps and Secrets that come with a revision, and go with it.

A service file names manifests; each object in them is made under the revision's own name
(``shop-config`` becomes ``shop-config-green``), so that the version beside it keeps its own.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from tasks.cluster import Cluster, Json
from tasks.cluster.cluster import labels_on
from tasks.cluster.kinds import CONFIG_MAP, SECRET, Kind
from tasks.cluster.labels import labels_of, slot_labels
from tasks.domain.errors import InputError
from tasks.domain.kubernetes import KubernetesFleet
from tasks.domain.model import Lease, Revision
from tasks.fleets.kubernetes_template import references

_KINDS = {kind.name: kind for kind in (CONFIG_MAP, SECRET)}
_FIELD = "fleet.config"


def config_of(fleet: KubernetesFleet, version: str) -> dict[str, Json]:
    """The objects that come with *version*, by the names that the Deployment refers to them.

    Raises:
        InputError: A file cannot be read, or holds something else; not retried.
    """
    found: dict[str, Json] = {}
    for path in (Path(one.format(version=version)) for one in fleet.config):
        for one in _objects(path):
            if not isinstance(one, dict) or one.get("kind") not in _KINDS:
                kind = one.get("kind") if isinstance(one, dict) else one
                raise InputError(_FIELD, kind, f"ConfigMaps and Secrets in {path}")
            name = (one.get("metadata") or {}).get("name")
            if not isinstance(name, str):
                raise InputError(_FIELD, name, f"metadata.name of the {one['kind']} in {path}")
            found[name] = one
    return found


def names_of(config: dict[str, Json], revision: Revision) -> dict[str, str]:
    """By the user's name, the revision's own."""
    return {name: f"{name}-{revision.slot}" for name in config}


def refuse_unused(config: dict[str, Json], pod: Json, subject: str) -> None:
    """Make sure that each of them is referred to: a misspelt one would change nothing.

    Raises:
        InputError: One is not; not retried.
    """
    used = {holder[field] for holder, field in references(pod)}
    for name in config:
        if name not in used:
            raise InputError(
                _FIELD, name, f"a name that {subject} refers to ({', '.join(sorted(used)) or 'none'})"
            )


def apply_config(
    cluster: Cluster, config: dict[str, Json], revision: Revision, lease: Lease, owner: Json | None
) -> None:
    """Have the revision's own objects.

    Args:
        owner: The reference to its Deployment, once that is there, so that they go with it.

    Raises:
        PermanentError: The server refuses one; not retried.
        TransientError: The server does not answer; retried.
    """
    names = names_of(config, revision)
    for name, one in config.items():
        lease.check()
        metadata: Json = {
            "name": names[name],
            "labels": labels_of(revision.service, revision.slot, lease.release),
        }
        metadata |= {"ownerReferences": [owner]} if owner else {}
        kept = {key: value for key, value in one.items() if key not in ("metadata", "apiVersion", "kind")}
        cluster.apply(_KINDS[one["kind"]], {"metadata": metadata, **kept})


def remove_config(cluster: Cluster, revision: Revision, used: bool) -> None:  # noqa: FBT001 - says what it is
    """Delete what came with *revision*, where it *used* any: reading Secrets needs a role of its own.

    Raises:
        TransientError: The server does not answer; retried.
    """
    if not used:
        return
    for kind in _KINDS.values():
        for one in cluster.list(kind, slot_labels(revision.service, revision.slot)):
            if labels_on(one).items() >= slot_labels(revision.service, revision.slot).items():
                cluster.delete(kind, one["metadata"]["name"])


def kinds_in(config: dict[str, Json]) -> set[Kind]:
    """Which kinds they are, for the permissions that they need."""
    return {_KINDS[one["kind"]] for one in config.values()}


def _objects(path: Path) -> list[object]:
    try:
        return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]
    except OSError as error:
        raise InputError(_FIELD, str(path), f"a file that can be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # The parser's own words may show what a Secret holds.
        raise InputError(_FIELD, str(path), f"YAML ({type(error).__name__})") from error
