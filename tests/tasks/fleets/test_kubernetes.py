"""The fleet on Kubernetes: real objects in a real API server, pods that are processes."""

from __future__ import annotations

import pytest
from kubernetes import client

from tasks.domain.model import Health, Replica, Revision, Slot
from tests.rig.cluster import shops
from tests.rig.stack import await_that
from tests.tasks.fleets.on_kubernetes import CANDIDATE, OWN, SOON, Shop, seen


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
