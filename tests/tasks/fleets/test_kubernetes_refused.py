"""The fleet on Kubernetes: what does not fit, is not allowed or will never run is said by name."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.domain.errors import GoneError, InputError, LeaseLostError, PermanentError, UnhealthyError
from tasks.domain.model import Health, Revision, Slot
from tasks.journal import take
from tests.rig.cluster import shops
from tests.rig.cluster.control_plane import ControlPlane
from tests.rig.stack import await_that
from tests.tasks.fleets.on_kubernetes import CANDIDATE, Shop, seen


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
