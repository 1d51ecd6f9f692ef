"""New versions in a real registry: tags, moving tags, times of birth, several platforms, passwords."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.domain.errors import ForbiddenError, GoneError, InputError, PermanentError, TransientError
from tasks.domain.settings import settings
from tasks.domain.versions import OciVersions
from tasks.versions import Found, open_versions
from tests.rig.registry import PASSWORD, USER, Pushed, real_registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    with real_registry(tmp_path_factory.mktemp("registry"), _port()) as pushed:
        yield pushed


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    with real_registry(tmp_path_factory.mktemp("protected"), _port(), protected=True) as pushed:
        pushed.image("team/shop", "1.0.0")
        yield pushed


def _port() -> int:
    from tests.conftest import _free_port  # noqa: PLC0415 - a fixture of a module can't use one of a test

    return _free_port()


def find(registry: Pushed, name: str, stable: str = "", **how: object) -> Found | None:
    versions = OciVersions.model_validate({"image": f"{registry.host}/{name}", **how})
    return open_versions(versions).newest(stable)


def test_the_newest_is_the_highest_version_and_not_the_last_in_the_alphabet(registry: Pushed) -> None:
    digests = {
        tag: registry.image("team/shop", tag, f"2026-01-{day:02}T00:00:00Z")
        for day, tag in enumerate(["1.10.0", "1.9.3", "v1.2", "latest", "2.0.0-rc.1", "nightly-7"], 1)
    }
    found = find(registry, "team/shop", stable="1.9.3")
    assert found == Found("1.10.0", digests["1.10.0"], digests["1.9.3"])
    found = find(registry, "team/shop", prereleases=True)
    assert found
    assert found.version == "2.0.0-rc.1"


def test_a_pattern_says_which_tags_are_versions_and_what_of_them_is_compared(registry: Pushed) -> None:
    for tag in ("web-1.4.0", "web-1.12.0", "api-7.0.0", "2.0.0"):
        registry.image("team/many", tag)
    found = find(registry, "team/many", pattern=r"web-(?P<version>.+)")
    assert found
    assert found.version == "web-1.12.0"
    assert find(registry, "team/many", pattern=r"job-.+") is None


def test_order_created_takes_what_was_built_last(registry: Pushed) -> None:
    registry.image("team/built", "abc", "2026-03-01T00:00:00.123456789Z")
    last = registry.image("team/built", "9f3", "2026-03-02T02:00:00+02:00")
    registry.image("team/built", "zzz", "2026-02-01T00:00:00Z")
    found = find(registry, "team/built", pattern=r"[0-9a-z]{3}", order="created")
    assert found == Found("9f3", last)


def test_an_image_for_several_platforms_was_built_when_its_first_was(registry: Pushed) -> None:
    old = registry.image("team/fat", "part-old", "2026-01-01T00:00:00Z")
    new = registry.image("team/fat", "part-new", "2026-06-01T00:00:00Z")
    proof = registry.image("team/fat", "part-proof", "2027-01-01T00:00:00Z")
    registry.index("team/fat", "1.1.0", {"unknown": proof, "linux": old})
    latest = registry.index("team/fat", "1.0.0", {"linux": new})
    found = find(registry, "team/fat", order="created", pattern=r"1\..+")
    assert found == Found("1.0.0", latest)


def test_images_too_many_to_ask_for_their_birth_are_refused(
    registry: Pushed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.versions.oci.MOST_CREATED", 1)
    for tag in ("1.0.0", "1.0.1"):
        registry.image("team/crowd", tag)
    with pytest.raises(PermanentError, match="found 2 tags to order by created, expected at most 1"):
        find(registry, "team/crowd", order="created")


def test_a_moving_tag_is_followed_by_its_digest(registry: Pushed) -> None:
    first = registry.image("team/moving", "latest", "2026-01-01T00:00:00Z")
    registry.image("team/moving", "1.0.0", "2026-01-01T00:00:00Z")
    found = find(registry, "team/moving", stable="1.0.0", tag="latest")
    assert found == Found(first, first, first)
    assert found.is_("1.0.0"), "the same image under another name is nothing new"
    second = registry.image("team/moving", "latest", "2026-01-02T00:00:00Z")
    found = find(registry, "team/moving", stable=first, tag="latest")
    assert found == Found(second, second, first)
    assert not found.is_(first)


def test_a_stable_version_that_the_registry_does_not_have_has_no_digest(registry: Pushed) -> None:
    registry.image("team/kept", "1.1.0")
    for stable in ("1.0.0", "../../etc", "a b"):
        found = find(registry, "team/kept", stable=stable)
        assert found
        assert (found.version, found.stable_digest) == ("1.1.0", "")


@pytest.mark.parametrize("how", [{}, {"tag": "latest"}], ids=["tags", "moving tag"])
def test_a_repository_that_is_not_there_is_named(registry: Pushed, how: dict[str, str]) -> None:
    with pytest.raises(
        GoneError, match=f"{registry.host}/team/gone: found answer 404 .*, expected team/gone"
    ):
        find(registry, "team/gone", **how)


def variable(registry: Pushed, which: str) -> str:
    return f"DAVY_REGISTRY_{registry.host.upper().replace('.', '_').replace(':', '_')}_{which}"


def test_a_password_comes_from_the_environment(
    protected: Pushed, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(protected, "USER"), USER)
    monkeypatch.setenv(variable(protected, "PASSWORD"), PASSWORD)
    found = find(protected, "team/shop")
    assert found
    assert found.version == "1.0.0"
    assert settings().root == home, "Davy's own settings are not disturbed by the variables"


@pytest.mark.parametrize("key", ["{host}", "https://{host}"])
def test_a_password_comes_from_docker_s_configuration(
    protected: Pushed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    auth = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    content = {"auths": {key.format(host=protected.host): {"auth": auth}}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert find(protected, "team/shop")


def test_without_a_password_or_with_a_wrong_one_the_repository_is_named_and_no_password(
    protected: Pushed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    with pytest.raises(ForbiddenError, match="team/shop without credentials"):
        find(protected, "team/shop")
    monkeypatch.setenv(variable(protected, "USER"), USER)
    with pytest.raises(InputError, match=variable(protected, "PASSWORD")):
        find(protected, "team/shop")
    monkeypatch.setenv(variable(protected, "PASSWORD"), "not-the-secret")
    with pytest.raises(ForbiddenError, match=r"found answer 401 .*, expected team/shop") as caught:
        find(protected, "team/shop")
    assert "not-the-secret" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", '{"auths": 7}', '{"auths": {"HOST": {"auth": "%%%"}}}'])
def test_a_docker_configuration_that_cannot_be_read_is_named(
    protected: Pushed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "config.json").write_text(content.replace("HOST", protected.host))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(PermanentError, match=r"config\.json: found"):
        find(protected, "team/shop")


def test_a_registry_that_is_away_may_be_asked_again(free_port: Callable[[], int]) -> None:
    away = Pushed(f"127.0.0.1:{free_port()}", None)
    with pytest.raises(TransientError, match="gave ConnectError, expected an answer"):
        find(away, "team/shop")
    away.close()
