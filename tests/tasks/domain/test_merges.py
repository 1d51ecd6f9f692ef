"""Which merges release a service, and as what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.domain.merges import Merge, OnMerge, wanted
from tasks.domain.spec import Canary, service_adapter, service_schema

SHA = "9c1a5f0e3b7d2468ace013579bdf02468ace1357"
PUSH = Merge("push", "org/shop", "main", SHA, ("services/shop/basket.py",))


def rule(**fields: object) -> OnMerge:
    return OnMerge.model_validate({"repository": "org/shop"} | fields)


def test_a_merge_into_main_releases_its_commit() -> None:
    releases, reasons = wanted(PUSH, [("shop", [rule()])])
    assert [(one.service, one.sha, one.version, one.image) for one in releases] == [("shop", SHA, SHA, None)]
    assert reasons == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"repository": "org/other"}, "shop: repository: found 'org/shop', expected 'org/other'"),
        ({"branch": "release"}, "shop: branch: found 'main', expected 'release'"),
        ({"event": "pull_request"}, "shop: event: found 'push', expected 'pull_request'"),
        (
            {"paths": ["docs/**", "*.md"]},
            "shop: paths: found 1 file(s), expected one of docs/**, *.md",
        ),
        ({"version": "v{tag}"}, "shop: tag: found none in the event, expected one for 'v{tag}'"),
    ],
)
def test_another_merge_releases_nothing_and_says_why(fields: dict[str, Any], reason: str) -> None:
    assert wanted(PUSH, [("shop", [rule(**fields)])]) == ([], [reason])


@pytest.mark.parametrize(
    ("paths", "changed", "releases"),
    [
        ([], (), True),
        (["services/shop/**"], ("services/shop/a/b.py",), True),
        (["services/shop/"], ("services/shop/a/b.py",), True),
        (["services/shop/**"], ("services/shopping/a.py",), False),
        (["services/shop/**", "!*.md"], ("services/shop/README.md",), False),
        (["services/shop/**", "!*.md"], ("services/shop/README.md", "services/shop/a.py"), True),
        (["services/shop/**"], (), False),
        (["services/shop/**"], None, True),
    ],
)
def test_paths_are_patterns_and_unknown_files_count_as_every_file(
    paths: list[str], changed: tuple[str, ...] | None, *, releases: bool
) -> None:
    assert bool(wanted(replace(PUSH, paths=changed), [("shop", [rule(paths=paths)])])[0]) is releases


def test_a_repository_is_told_without_regard_to_case_as_its_sender_does() -> None:
    assert wanted(replace(PUSH, repository="Org/Shop"), [("shop", [rule()])])[0]


def test_a_merge_of_several_services_releases_each_once() -> None:
    twice = [rule(), rule(branch="main", version="x-{sha}")]
    releases, _ = wanted(PUSH, [("shop", twice), ("cart", [rule(branch="no"), rule(version="{short_sha}")])])
    assert [(one.service, one.version) for one in releases] == [("shop", SHA), ("cart", SHA[:12])]


def test_a_sender_may_mean_one_service_and_name_its_version() -> None:
    merge = replace(PUSH, event=None, service="cart", tag="1.4.2")
    rules = [rule(version="v{tag}", image="registry.example.com/cart:{version}-{short_sha}")]
    releases, _ = wanted(merge, [("shop", rules), ("cart", rules)])
    assert [(one.service, one.version) for one in releases] == [("cart", "1.4.2")]
    assert releases[0].image == f"registry.example.com/cart:1.4.2-{SHA[:12]}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"repository": "shop"}, "repository"),
        ({"branch": ""}, "branch"),
        ({"version": "two words"}, "found 'two words', expected a version without spaces"),
        ({"version": "{commit}"}, "found '{commit}', expected a version without spaces, with {sha}"),
        ({"image": "shop"}, "found 'shop', expected an image with its tag"),
        ({"image": "registry.example.com/shop:{commit}"}, "expected an image with its tag"),
        ({"image_within": "0s"}, "found 0s, expected a duration longer than 0s"),
        ({"paths": ["!"]}, "0: found '!', expected a pattern such as"),
        ({"event": "tag"}, "'push' or 'pull_request'"),
        ({"brunch": "main"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_rule_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        rule(**fields)
    assert message in str(refused.value)


CONTENT: dict[str, Any] = {
    "service": "shop",
    "strategy": "canary",
    "fleet": {"kind": "local", "command": "serve"},
    "router": {"kind": "envoy", "port": 8080},
}


def test_a_service_file_may_have_one_or_a_list() -> None:
    one = service_adapter.validate_python(CONTENT | {"on_merge": {"repository": "org/shop"}})
    several = service_adapter.validate_python(CONTENT | {"on_merge": [{"repository": "org/shop"}]})
    assert isinstance(one, Canary)
    assert one.on_merge == several.on_merge == (rule(),)
    assert service_adapter.validate_python(one.model_dump(mode="json")) == one
    assert service_adapter.validate_python(CONTENT).on_merge == ()


def test_a_repository_alone_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"found 'org/shop', expected keys such as 'repository'"):
        service_adapter.validate_python(CONTENT | {"on_merge": "org/shop"})


def test_editors_are_shown_both_ways_to_write_it() -> None:
    schema = service_schema()["$defs"]["Canary"]["properties"]["on_merge"]
    item = {"$ref": "#/$defs/OnMerge"}
    assert schema["anyOf"] == [item, {"type": "array", "items": item}]
