"""How an object changes, for people: a unified diff of YAML, without what only the server says. Pure."""

from __future__ import annotations

from copy import deepcopy
from difflib import unified_diff

import yaml

from tasks.cluster.cluster import Json

_THE_SERVERS = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")
_SECRET = "Secret"  # noqa: S105 - a kind of object


def diff_of(before: Json | None, after: Json) -> str:
    """The lines that change, with three lines around them; what a Secret holds is not shown."""
    old, new = (_text(one).splitlines() if one else [] for one in (before, after))
    return "\n".join(
        line for line in unified_diff(old, new, lineterm="", n=3) if line[:3] not in ("---", "+++")
    )


def _text(found: Json) -> str:
    shown = deepcopy(found)
    shown.pop("status", None)
    for key in _THE_SERVERS:
        shown["metadata"].pop(key, None)
    for key in ("data", "stringData"):
        if shown.get("kind") == _SECRET and key in shown:
            shown[key] = dict.fromkeys(shown[key], "(not shown)")
    return yaml.dump(shown, Dumper=_Plain, sort_keys=True, width=110)


class _Plain(yaml.SafeDumper):
    """Writes what stands twice twice, as people do, and not once with a reference to it."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True
