"""The fleet on Kubernetes: real objects in a real API server, pods that are processes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tasks.domain.errors import GoneError, InputError, LeaseLostError, PermanentError, UnhealthyError
from tasks.domain.model import Health, Replica, Revision, Slot
from tasks.domain.spec import service_adapter
from tasks.fleets.kubernetes import KubernetesDeployments
from tasks.journal import FileLease, take
from tests.rig.cluster import shops
from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.cluster.kubelet import Kubelet
from tests.rig.stack import await_that

SOON = timedelta(seconds=60)
OWN = Revision("shop", Slot.BLUE, "1.0")
CANDIDATE = Revision("shop", Slot.CANDIDATE, "2.0")


class Shop:
    """A shop in a namespace of its own, its fleet and the right to change it."""

    def __init__(self, plane: ControlPlane, namespace: str, folder: Path) -> None:
        self.plane, self.namespace, self.folder = plane, namespace, folder
        self.apps, self.core = client.AppsV1Api(plane.api), client.CoreV1Api(plane.api)
        self.lease: FileLease = take("shop", "first")

    def make(self, *, shared: bool = False, **changed: Any) -> None:  # noqa: ANN401 - fields of the container
        """Create the own Deployment and its Service; wait for its pods."""
        own = shops.deployment("shop", self.folder / "shop.sqlite", shared=shared)
        own["spec"]["template"]["spec"]["containers"][0] |= changed
        shops.make(self.plane.api, self.namespace, own, shops.service("shop"))
        await_that(lambda: self.deployment("shop").status.ready_replicas == 2, what="own pods")

    def fleet(self, kubeconfig: Path | None = None, **own: Any) -> KubernetesDeployments:  # noqa: ANN401
        """The fleet of a service file with *own* keys of its part."""
        content = shops.content("shop", self.namespace, kubeconfig or self.plane.kubeconfig)
        content["fleet"] |= own
        return KubernetesDeployments(service_adapter.validate_python(content))

    def deployment(self, name: str) -> Any:  # noqa: ANN401 - the client's own model
        """As it is now."""
        return self.apps.read_namespaced_deployment(name, self.namespace)

    def names(self) -> set[str]:
        """All Deployments."""
        return {one.metadata.name for one in self.apps.list_namespaced_deployment(self.namespace).items}

    def run(self, fleet: KubernetesDeployments, revision: Revision, replicas: int = 1) -> None:
        """Deploy and wait."""
        fleet.deploy(revision, replicas, self.lease)
        fleet.wait_healthy(revision, replicas, SOON)


@pytest.fixture
def shop(home: Path, control_plane: ControlPlane, kubelet: Kubelet, namespace: str, tmp_path: Path) -> Shop:
    del home, kubelet
    return Shop(control_plane, namespace, tmp_path)


def seen(fleet: KubernetesDeployments) -> dict[str, list[Health]]:
    found: dict[str, list[Health]] = {}
    for replica in fleet.observe():
        found.setdefault(f"{replica.revision.slot}@{replica.revision.version}", []).append(replica.health)
    return found


def test_the_own_deployment_is_seen_as_it_is(shop: Shop) -> None:
    shop.make()
    fleet = shop.fleet()
    fleet.check("2.0")
    assert seen(fleet) == {"blue@1.0": [Health.HEALTHY] * 2}
    replica: Replica = fleet.observe()[0]
    assert replica.host.startswith("10.244.")
    assert replica.port == shops.PORT


@pytest.mark.parametrize("shared", [False, True], ids=["own labels", "a label of its own"])
def test_a_candidate_runs_beside_it_owned_labelled_and_out_of_its_selectors(
    shop: Shop, *, shared: bool
) -> None:
    shop.make(shared=shared)
    fleet = shop.fleet()
    shop.run(fleet, CANDIDATE, 2)
    assert seen(fleet) == {"blue@1.0": [Health.HEALTHY] * 2, "candidate@2.0": [Health.HEALTHY] * 2}
    made, own = shop.deployment("shop-candidate"), shop.deployment("shop")
    labels = made.spec.template.metadata.labels
    assert made.metadata.owner_references[0].uid == own.metadata.uid
    assert made.metadata.labels["davy/release"] == "first"
    assert (labels["davy/slot"], labels["version"]) == ("candidate", "2.0-candidate")
    assert not own.spec.selector.match_labels.items() <= labels.items(), "an autoscaler would count them"
    assert ({"app": "shop"}.items() <= labels.items()) == shared, "whether the Service selects them"
    assert made.spec.template.spec.containers[0].image == "shop:2.0"
    assert own.spec.template.spec.containers[0].image == "shop:1.0"


def test_deploying_again_changes_nothing_and_converges_the_number(shop: Shop) -> None:
    shop.make()
    fleet = shop.fleet()
    shop.run(fleet, CANDIDATE, 1)
    pods = {replica.host for replica in fleet.observe()}
    await_that(lambda: shop.deployment("shop-candidate").status.ready_replicas, what="status")
    before = shop.deployment("shop-candidate").metadata.resource_version
    shop.run(fleet, CANDIDATE, 1)
    assert shop.deployment("shop-candidate").metadata.resource_version == before
    shop.run(fleet, CANDIDATE, 3)
    assert len(seen(fleet)["candidate@2.0"]) == 3
    assert pods <= {replica.host for replica in fleet.observe()}


def test_a_retired_candidate_leaves_nothing(shop: Shop) -> None:
    shop.make()
    fleet = shop.fleet()
    shop.run(fleet, CANDIDATE, 1)
    fleet.retire(CANDIDATE, shop.lease)
    assert shop.names() == {"shop"}
    assert seen(fleet) == {"blue@1.0": [Health.HEALTHY] * 2}
    fleet.retire(CANDIDATE, shop.lease)


def test_the_colours_take_turns(shop: Shop) -> None:
    """Green beside blue, blue to nothing, and blue again with the next version, the own Deployment all along."""
    shop.make()
    fleet = shop.fleet()
    uid = shop.deployment("shop").metadata.uid
    green, blue = Revision("shop", Slot.GREEN, "2.0"), Revision("shop", Slot.BLUE, "3.0")
    shop.run(fleet, green, 2)
    fleet.retire(OWN, shop.lease)
    assert seen(fleet) == {"green@2.0": [Health.HEALTHY] * 2}
    assert shop.deployment("shop").spec.replicas == 0
    shop.run(fleet, blue, 2)
    fleet.retire(green, shop.lease)
    assert shop.names() == {"shop"}
    assert seen(fleet) == {"blue@3.0": [Health.HEALTHY] * 2}
    own = shop.deployment("shop")
    assert (own.metadata.uid, own.spec.template.spec.containers[0].image) == (uid, "shop:3.0")


def test_the_previous_version_comes_back_as_it_was(shop: Shop) -> None:
    shop.make()
    fleet = shop.fleet()
    before = shop.deployment("shop").spec.template
    shop.run(fleet, Revision("shop", Slot.GREEN, "2.0"), 2)
    fleet.retire(OWN, shop.lease)
    shop.run(fleet, OWN, 2)
    assert shop.deployment("shop").spec.template == before


def test_a_baseline_is_the_old_version_under_labels_of_its_own(shop: Shop) -> None:
    shop.make()
    fleet = shop.fleet()
    shop.run(fleet, Revision("shop", Slot.BASELINE, "1.0"), 1)
    assert seen(fleet)["baseline@1.0"] == [Health.HEALTHY]
    assert shop.deployment("shop-baseline").spec.template.metadata.labels["version"] == "1.0-baseline"


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("2.0-broken", "CrashLoopBackOff: "),
        ("2.0-missing", "ImagePullBackOff: "),
        ("2.0-config", 'CreateContainerConfigError: configmap "nowhere" not found'),
        ("2.0-large", "0/1 nodes are available: "),
    ],
)
def test_what_waiting_does_not_mend_is_said_at_once(shop: Shop, version: str, said: str) -> None:
    changed: dict[str, Any] = {}
    shop.make()
    own = shop.deployment("shop").spec.template.spec.containers[0]
    if version.endswith("config"):
        changed["envFrom"] = [{"configMapRef": {"name": "nowhere"}}]
    if version.endswith("large"):
        changed["resources"] = {"requests": {"cpu": "100"}}
    if changed:
        patch = {
            "spec": {"paused": True, "template": {"spec": {"containers": [{"name": own.name, **changed}]}}}
        }
        shop.apps.patch_namespaced_deployment("shop", shop.namespace, patch)
    image = {"image": "nobody-has-it:{version}"} if version.endswith("missing") else {}
    fleet = shop.fleet(**image)
    with pytest.raises(UnhealthyError, match=r"waiting won't help: Pod/.*/shop-candidate-") as raised:
        shop.run(fleet, Revision("shop", Slot.CANDIDATE, version), 1)
    assert said in str(raised.value)


def test_a_quota_that_is_used_up_is_said_and_seen(shop: Shop) -> None:
    shop.make()
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "3"}}}
    shop.core.create_namespaced_resource_quota(shop.namespace, quota)
    await_that(
        lambda: shop.core.read_namespaced_resource_quota("small", shop.namespace).status.used, what="quota"
    )
    fleet = shop.fleet()
    with pytest.raises(
        UnhealthyError, match=r"Deployment/.*/shop-candidate: FailedCreate: .*exceeded quota: small"
    ):
        shop.run(fleet, CANDIDATE, 2)
    # The one that the quota allowed may not have its address yet.
    refused = [replica for replica in fleet.observe() if "exceeded quota" in replica.detail]
    assert [replica.host for replica in refused] == [""]
    fleet.retire(CANDIDATE, shop.lease)
    assert seen(fleet) == {"blue@1.0": [Health.HEALTHY] * 2}


def test_config_maps_and_secrets_come_with_a_version_and_go_with_it(shop: Shop) -> None:
    shop.core.create_namespaced_config_map(
        shop.namespace, {"metadata": {"name": "settings"}, "data": {"A": "1"}}
    )
    shop.make(envFrom=[{"configMapRef": {"name": "settings"}}])
    (shop.folder / "settings-2.0.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {A: '2'}\n"
    )
    fleet = shop.fleet(config=[str(shop.folder / "settings-{version}.yaml")])
    fleet.check("2.0")
    shop.run(fleet, CANDIDATE, 1)
    made = shop.core.read_namespaced_config_map("settings-candidate", shop.namespace)
    assert made.data == {"A": "2"}
    assert made.metadata.owner_references[0].name == "shop-candidate"
    used = shop.deployment("shop-candidate").spec.template.spec.containers[0].env_from[0]
    assert used.config_map_ref.name == "settings-candidate"
    shop.run(fleet, Revision("shop", Slot.BASELINE, "1.0"), 1)
    used = shop.deployment("shop-baseline").spec.template.spec.containers[0].env_from[0]
    assert used.config_map_ref.name == "settings"
    fleet.retire(CANDIDATE, shop.lease)
    names = {one.metadata.name for one in shop.core.list_namespaced_config_map(shop.namespace).items}
    assert "settings-candidate" not in names
    assert "settings" in names


def test_configuration_of_the_own_deployment_alternates_too(shop: Shop) -> None:
    """Blue with its own settings, green with its own, blue again: each refers to the right ones."""
    for name in ("settings",):
        shop.core.create_namespaced_config_map(
            shop.namespace, {"metadata": {"name": name}, "data": {"A": "1"}}
        )
    shop.make(env=[*shops.container(shop.folder / "x.sqlite")["env"], _FROM_SETTINGS])
    file = shop.folder / "settings.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {A: '2'}\n")
    fleet = shop.fleet(config=[str(file)])
    green, blue = Revision("shop", Slot.GREEN, "2.0"), Revision("shop", Slot.BLUE, "3.0")
    shop.run(fleet, green, 1)
    fleet.retire(OWN, shop.lease)
    shop.run(fleet, blue, 1)
    fleet.retire(green, shop.lease)
    assert _settings_of(shop, "shop") == "settings-blue"
    shop.run(fleet, Revision("shop", Slot.GREEN, "4.0"), 1)
    assert _settings_of(shop, "shop-green") == "settings-green"


_FROM_SETTINGS = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "A"}}}


def _settings_of(shop: Shop, name: str) -> str:
    env = shop.deployment(name).spec.template.spec.containers[0].env
    found: str = next(one for one in env if one.name == "A").value_from.config_map_key_ref.name
    return found


def test_an_autoscaler_is_neither_fought_nor_lost(shop: Shop) -> None:
    shop.make()
    scalers = client.AutoscalingV1Api(shop.plane.api)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
    spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 6}
    scalers.create_namespaced_horizontal_pod_autoscaler(
        shop.namespace, {"metadata": {"name": "shop"}, "spec": spec}
    )
    shop.apps.patch_namespaced_deployment_scale("shop", shop.namespace, {"spec": {"replicas": 4}})
    fleet = shop.fleet()
    fleet.deploy(OWN, 2, shop.lease)
    assert shop.deployment("shop").spec.replicas == 4, "what the autoscaler wants stays"
    green = Revision("shop", Slot.GREEN, "2.0")
    shop.run(fleet, green, 2)
    fleet.retire(OWN, shop.lease)
    own = scalers.read_namespaced_horizontal_pod_autoscaler("shop", shop.namespace)
    other = scalers.read_namespaced_horizontal_pod_autoscaler("shop-green", shop.namespace)
    assert own.spec.scale_target_ref.name == "shop"
    assert (other.spec.scale_target_ref.name, other.spec.max_replicas) == ("shop-green", 6)
    assert other.metadata.owner_references[0].name == "shop-green"


def test_a_carrier_that_was_taken_over_changes_nothing(shop: Shop) -> None:
    shop.make()
    fleet = shop.fleet()
    old = shop.lease
    shop.lease = take("shop", "first", over=True)
    shop.run(fleet, CANDIDATE, 1)
    for verb in (lambda: fleet.deploy(CANDIDATE, 3, old), lambda: fleet.retire(CANDIDATE, old)):
        with pytest.raises(LeaseLostError):
            verb()
    assert shop.deployment("shop-candidate").spec.replicas == 1


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"deployment": "shup"}, GoneError, "Deployment/{namespace}/shup: found none"),
        (
            {"container": "api"},
            InputError,
            "fleet.container: found 'api', expected one container of Deployment/",
        ),
        ({"context": "mars"}, InputError, "fleet.context: found 'mars', expected a context of "),
        ({"config": ["/nowhere.yaml"]}, InputError, "fleet.config: found '/nowhere.yaml', expected a file"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    shop: Shop, changed: dict[str, Any], error: type[Exception], said: str
) -> None:
    shop.make()
    with pytest.raises(error) as raised:
        shop.fleet(**changed).check("2.0")
    assert said.format(namespace=shop.namespace) in str(raised.value)


def test_a_service_that_leads_to_others_too_is_refused(shop: Shop) -> None:
    shop.make()
    other = shops.deployment("other", shop.folder / "other.sqlite", replicas=0)
    other["spec"]["selector"]["matchLabels"] = {"app": "shop", "tier": "other"}
    other["spec"]["template"]["metadata"]["labels"] = {"app": "shop", "tier": "other"}
    shops.make(shop.plane.api, shop.namespace, other)
    with pytest.raises(InputError, match=r"router.service: .*also selecting Deployment/.*/other"):
        shop.fleet().check("2.0")


def test_a_field_that_another_tool_applies_is_left_to_it(shop: Shop) -> None:
    shop.make()
    own = shops.deployment("shop", shop.folder / "shop.sqlite")
    shop.apps.patch_namespaced_deployment(
        "shop",
        shop.namespace,
        own,
        field_manager="flux",
        force=True,
        _content_type="application/apply-patch+yaml",
    )
    with pytest.raises(PermanentError, match=r"Deployment/.*/shop: found .spec.replicas applied by 'flux'"):
        shop.fleet().check("2.0")


def test_missing_permissions_are_all_listed(shop: Shop, control_plane: ControlPlane) -> None:
    shop.make()
    with pytest.raises(
        PermanentError, match=r"found no permission to get, list, create, .*deployments.apps"
    ) as raised:
        shop.fleet(control_plane.identity("limited")).check("2.0")
    assert "get pods/proxy" in str(raised.value)


def test_changes_show_what_would_be_made_and_touch_nothing(shop: Shop) -> None:
    shop.make()
    made = shop.fleet().changes(CANDIDATE, 1)
    assert [(one.subject, one.action) for one in made] == [
        (f"Deployment/{shop.namespace}/shop-candidate", "create")
    ]
    assert (made[0].like, "-        image: shop:1.0" in made[0].diff) == (
        f"Deployment/{shop.namespace}/shop",
        True,
    )
    assert "+        image: shop:2.0" in made[0].diff
    assert "&id" not in made[0].diff, "what stands twice is written twice"
    changed = shop.fleet().changes(Revision("shop", Slot.BLUE, "2.0"), 2)
    lines = [line for line in changed[0].diff.splitlines() if line[0] in "+-"]
    assert "-        image: shop:1.0" in lines
    assert "+        image: shop:2.0" in lines
    assert shop.names() == {"shop"}
    assert shop.deployment("shop").spec.template.spec.containers[0].image == "shop:1.0"


def test_a_pod_is_asked_through_the_api_server(shop: Shop) -> None:
    shop.make()
    fleet = shop.fleet()
    replica = fleet.observe()[0]
    assert fleet.answer(replica, "/products", SOON) == "200"
    assert fleet.answer(replica, "/nowhere", SOON) == "404"
