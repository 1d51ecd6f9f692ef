"""What this identity may do: asked of the server before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.cluster.cluster import Cluster
from tasks.cluster.kinds import Kind
from tasks.domain.errors import PermanentError

Need = tuple[Kind, str, str]
"""A kind, its subresource (or nothing), and the verbs that are needed, with spaces between."""


def refuse_forbidden(cluster: Cluster, needs: Iterable[Need]) -> None:
    """Make sure that everything that a release may have to do is allowed.

    Raises:
        PermanentError: It lists all that is not; not retried.
        TransientError: The server does not answer; retried.
    """
    missing = []
    for kind, subresource, verbs in needs:
        forbidden = [verb for verb in verbs.split() if cluster.refuses(verb, kind, subresource)]
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        group = f".{kind.group}" if kind.group else ""
        missing += [f"{', '.join(forbidden)} {resource}{group}"] if forbidden else []
    if missing:
        msg = f"Namespace/{cluster.namespace}: found no permission to {'; '.join(missing)}, expected a role that has it"
        raise PermanentError(msg)
