"""Where versions are found, as a service file says it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tasks.domain.versions import Versions

ADAPTER: TypeAdapter[Any] = TypeAdapter(Versions)


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "oci", "image": "registry.example.com/team/shop"},
        {"kind": "oci", "image": "registry.example.com:5000/shop", "tag": "latest"},
        {"kind": "oci", "image": "localhost/shop", "pattern": "v.*", "order": "created"},
        {"kind": "git", "repository": "https://git.example.com/team/shop.git"},
        {"kind": "git", "repository": "git@git.example.com:team/shop.git"},
        {"kind": "git", "repository": "ssh://git@git.example.com/team/shop.git"},
        {"kind": "file", "path": "VERSION"},
    ],
)
def test_a_source_comes_back_from_json_as_it_was(content: dict[str, object]) -> None:
    versions = ADAPTER.validate_python(content)
    assert ADAPTER.validate_python(versions.model_dump(mode="json")) == versions


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"kind": "ftp"}, "union_tag_invalid"),
        ({"kind": "oci", "image": "shop"}, "image"),
        ({"kind": "oci", "image": "library/nginx"}, "expected registry and repository without tag"),
        ({"kind": "oci", "image": "a.example.com/shop:1.0"}, "image"),
        ({"kind": "oci", "image": "a.example.com/../x"}, "image"),
        ({"kind": "oci", "image": "user:pw@a.example.com/shop"}, "image"),
        (
            {"kind": "oci", "image": "a.example.com/shop", "tag": "x", "pattern": "y"},
            "expected one way to choose",
        ),
        ({"kind": "oci", "image": "a.example.com/shop", "pattern": "("}, "expected 'semver' or a regular"),
        ({"kind": "oci", "image": "a.example.com/shop", "password": "x"}, "extra_forbidden"),
        ({"kind": "git", "repository": "--upload-pack=x"}, "repository"),
        ({"kind": "git", "repository": "ext::sh -c x"}, "repository"),
        ({"kind": "file"}, "path"),
    ],
)
def test_a_source_that_is_wrong_is_refused(content: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ADAPTER.validate_python(content)


@pytest.mark.parametrize("scheme", ["https", "ssh", "ftp"])
def test_credentials_in_an_address_are_refused_and_not_told(scheme: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python({"kind": "git", "repository": f"{scheme}://me:secret@git.example.com/x"})
    (fault,) = caught.value.errors()
    assert fault["msg"] == (
        "Value error, found an address with credentials, expected one without (use a credential helper)"
    )
