"""Fleet on Kubernetes: the service's own Deployment, and beside it one for each other slot.

The own Deployment is one of the two colours and stays the user's: Davy changes its image and its number
of replicas, and nothing else. The other colour, candidate and baseline are Deployments of Davy's,
made from it, and owned by it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta

from tasks.cluster import Json, open_cluster
from tasks.cluster.cluster import annotations_of, refuse_newer
from tasks.cluster.kinds import DEPLOYMENT, POD, SERVICE
from tasks.cluster.labels import Marks
from tasks.cluster.yaml_diff import diff_of
from tasks.domain.errors import TransientError, UnhealthyError
from tasks.domain.kubernetes import ServiceRouter
from tasks.domain.model import Change, Health, Lease, Replica, Revision, Slot
from tasks.domain.spec import ServiceFile
from tasks.domain.units import format_duration
from tasks.fleets import kubernetes_template as template
from tasks.fleets.kubernetes_autoscaling import autoscaler_of, hand_over
from tasks.fleets.kubernetes_check import refuse_unfit
from tasks.fleets.kubernetes_config import apply_config, config_of, names_of, remove_config
from tasks.fleets.kubernetes_health import hopeless
from tasks.fleets.kubernetes_seen import Seen

PREVIEW = "preview"
"""The lease that a dry run is told of: none is held."""
GONE_WITHIN = timedelta(seconds=60)
"""Beyond their grace period: how long pods may take to go."""
_POLL = 0.2


class KubernetesDeployments:
    """The fleet of one service; see `tasks.fleets.base.Fleet`."""

    def __init__(self, service: ServiceFile) -> None:
        self._file = service
        self._service = service.service
        self._fleet = service.kubernetes
        self._cluster = open_cluster(service)
        self._seen = Seen(self._cluster, service.service, self._fleet)

    def check(self, version: str) -> None:
        """See `Fleet.check`: permissions, the own Deployment, what goes with it, and who else writes it.

        Raises:
            GoneError: There is no such Deployment or Service; not retried.
            PermanentError: A permission is missing, or another tool applies what a release changes; not retried.
            TransientError: The API server does not answer; retried.
        """
        refuse_unfit(self._cluster, self._file, config_of(self._fleet, version))

    def changes(self, revision: Revision, replicas: int) -> tuple[Change, ...]:
        """See `Fleet.changes`: by the server's own dry run, and beside the own Deployment."""
        name = self._fleet.deployment_of(self._service, revision.slot)
        before = self._seen.deployment(revision.slot)
        if before and self._seen.version(before) == revision.version:
            return ()
        wanted = self._wanted(revision, replicas, PREVIEW, 0)
        after = self._cluster.apply(DEPLOYMENT, wanted, dry_run=True)
        subject = self._cluster.subject(DEPLOYMENT, name)
        if before:
            return (Change(subject, "change", diff_of(before, after)),)
        return (Change(subject, "create", diff_of(self._seen.own(), after), like=self._seen.subject),)

    def observe(self) -> tuple[Replica, ...]:
        """See `Fleet.observe`: each pod, and each that is missing."""
        return tuple(sorted(self._seen.everything(), key=lambda one: (one.revision, one.number)))

    def deploy(self, revision: Revision, replicas: int, lease: Lease) -> None:
        """See `Fleet.deploy`. A Deployment that an autoscaler scales is never made smaller.

        Raises:
            PermanentError: The server refuses it, or another tool applies what would change; not retried.
            TransientError: The server does not answer, or others write the Deployment; retried.
            LeaseLostError: Another carrier holds the lease; not retried.
        """
        name = self._fleet.deployment_of(self._service, revision.slot)
        here = self._seen.deployment(revision.slot)
        refuse_newer(here or {"metadata": {}}, lease, self._cluster.subject(DEPLOYMENT, name))
        config = config_of(self._fleet, revision.version) if self._seen.like(revision) is None else {}
        if here is None or self._seen.version(here) != revision.version:
            apply_config(self._cluster, config, revision, lease, None)
            lease.check()
            here = self._cluster.apply(
                DEPLOYMENT, self._wanted(revision, replicas, lease.release, lease.epoch)
            )
            apply_config(self._cluster, config, revision, lease, template.owner_of(here))
        self._scale(here, replicas, lease)

    def wait_healthy(self, revision: Revision, replicas: int, within: timedelta) -> None:
        """See `Fleet.wait_healthy`.

        Raises:
            TransientError: The server does not answer; retried.
            UnhealthyError: Not in time, or something that waiting does not mend, in the words of the
                pod or Deployment that has it; not retried.
        """
        deadline = time.monotonic() + within.total_seconds()
        while True:
            seen = [one for one in self._seen.replicas(revision.slot) if one.revision == revision]
            healthy = sum(replica.health is Health.HEALTHY for replica in seen)
            if healthy >= replicas:
                return
            deployment = self._cluster.need(
                DEPLOYMENT, self._fleet.deployment_of(self._service, revision.slot)
            )
            if why := hopeless(deployment, self._seen.pods(revision.slot)):
                msg = f"{revision}: {healthy} of {replicas} replicas healthy, and waiting won't help: {why}"
                raise UnhealthyError(msg)
            if time.monotonic() > deadline:
                raise UnhealthyError(_too_late(revision, seen, replicas, within))
            time.sleep(_POLL)

    def answer(self, replica: Replica, path: str, within: timedelta) -> str:
        """See `Fleet.answer`: asked through the API server, so that it works from everywhere."""
        pods = [pod for pod in self._seen.pods(replica.revision.slot) if _host(pod) == replica.host]
        if not pods:
            return "no such pod"
        try:
            name = pods[0]["metadata"]["name"]
            return str(self._cluster.ask_pod(name, replica.port, path, within.total_seconds()))
        except TransientError as error:
            return f"nothing ({error})"

    def retire(self, revision: Revision, lease: Lease) -> None:
        """See `Fleet.retire`. The own Deployment stays, with no replicas; its autoscaler rests then."""
        name = self._fleet.deployment_of(self._service, revision.slot)
        here = self._seen.deployment(revision.slot)
        if here is not None and self._seen.version(here) != revision.version:
            return
        refuse_newer(here or {"metadata": {}}, lease, self._cluster.subject(DEPLOYMENT, name))
        lease.check()
        if revision.slot is Slot.BLUE:
            self._hand_over(lease)
            self._write_replicas(name, 0, lease)
        else:
            self._cluster.delete(DEPLOYMENT, name)
        self._await_gone(revision)
        remove_config(self._cluster, revision, used=bool(self._fleet.config))

    def _tells_apart(self) -> str:
        """The label whose value differs between the own pods and others."""
        router = self._file.router
        if not isinstance(router, ServiceRouter):
            return template.told_apart_by(self._seen.own_selector, {})
        users = self._cluster.need(SERVICE, router.service_of(self._service))
        original = annotations_of(users).get(Marks.of(self._service).original)  # where it splits by itself
        selector = json.loads(original) if original else users["spec"].get("selector") or {}
        return template.told_apart_by(self._seen.own_selector, selector)

    def _wanted(self, revision: Revision, replicas: int, release: str, epoch: int) -> Json:
        """The Deployment of *revision*, as it is applied."""
        own, like = self._seen.own(), self._seen.like(revision)
        base = like or own
        container = template.container_of(self._fleet, base["spec"]["template"], self._seen.subject)
        image = container["image"]
        if like is None:
            names = names_of(config_of(self._fleet, revision.version), revision)
            pods = template.with_references(base["spec"]["template"], names)
            image = template.image_of(self._fleet, image, revision.version)
            template.container_of(self._fleet, pods, self._seen.subject)["image"] = image
            base = base | {"spec": base["spec"] | {"template": pods}}
        if revision.slot is Slot.BLUE:
            pods = base["spec"]["template"]
            return template.own_deployment(own, pods, revision, container=container["name"], image=image)
        key = self._tells_apart()
        return template.deployment_of(
            own, base, revision, replicas, key=key, image=image, release=release, epoch=epoch
        )

    def _scale(self, here: Json, replicas: int, lease: Lease) -> None:
        """Have so many, but never fewer than an autoscaler wants."""
        name = here["metadata"]["name"]
        if here["spec"].get("replicas", 1) <= replicas or not autoscaler_of(self._cluster, name):
            self._write_replicas(name, replicas, lease)

    def _write_replicas(self, name: str, replicas: int, lease: Lease) -> None:
        def edit(found: Json) -> Json:
            return found | {"spec": found["spec"] | {"replicas": replicas}}

        self._cluster.change(DEPLOYMENT, name, edit, lease)

    def _hand_over(self, lease: Lease) -> None:
        """The other colour takes over what scales and protects the own one."""
        if other := self._seen.deployment(Slot.GREEN):
            revision = Revision(self._service, Slot.GREEN, self._seen.version(other))
            hand_over(self._cluster, self._seen.own(), other, revision, lease)

    def _await_gone(self, revision: Revision) -> None:
        """Return once no pod of *revision* is left.

        Raises:
            TransientError: One is, long after its grace period; retried.
        """
        pods = self._seen.pods_of(revision)
        grace = max((pod["spec"].get("terminationGracePeriodSeconds", 30) for pod in pods), default=0)
        deadline = time.monotonic() + grace + GONE_WITHIN.total_seconds()
        while pods := self._seen.pods_of(revision):
            if time.monotonic() > deadline:
                names = ", ".join(self._cluster.subject(POD, pod["metadata"]["name"]) for pod in pods)
                msg = f"{names}: found still there, expected to be gone by now"
                raise TransientError(msg)
            time.sleep(_POLL)


def _too_late(revision: Revision, seen: Sequence[Replica], replicas: int, within: timedelta) -> str:
    healthy = sum(replica.health is Health.HEALTHY for replica in seen)
    others = [f"{one.host or 'a pod'} {one.detail}" for one in seen if one.health is not Health.HEALTHY]
    reasons = "; ".join(others) or f"{len(seen)} were deployed"
    return f"{revision}: {healthy} of {replicas} replicas healthy after {format_duration(within)}: {reasons}"


def _host(pod: Json) -> str:
    return str((pod.get("status") or {}).get("podIP", ""))
