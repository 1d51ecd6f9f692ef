"""Secrets: read where they are kept, when they are needed, and never shown."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.secret_blocks import read_block
from tasks.domain.errors import TransientError
from tasks.domain.secrets import SecretPlace
from tasks.notify.secret_places import secret_reader
from tests.rig.small_prefect import small_prefect
from tests.tasks.notify.releases import CANARY

BLOCK = "GET /block_types/slug/secret/block_documents/name/token?include_secrets=true"
read = secret_reader(read_block)


def test_an_environment_variable_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    place = SecretPlace(env="TOKEN")
    for value in ("one", "two"):
        monkeypatch.setenv("TOKEN", value)
        assert read(place).get_secret_value() == value


def test_a_mounted_file_is_read_without_the_line_end_that_it_is_written_with(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{CANARY}\n")
    secret = read(SecretPlace(file=str(tmp_path / "token")))
    assert secret.get_secret_value() == CANARY
    assert CANARY not in repr(secret) + str(secret)


def test_a_secret_block_is_read_from_prefect(home: Path) -> None:
    del home
    with small_prefect() as server:
        server.answers[BLOCK] = [(200, {"name": "token", "data": {"value": CANARY}})]
        assert read(SecretPlace(block="token")).get_secret_value() == CANARY


def test_a_block_that_cannot_be_read_is_named_and_nothing_of_it_shown(home: Path) -> None:
    del home
    answers: list[tuple[int, object, str]] = [
        (404, {"detail": CANARY}, "status 404"),
        (503, CANARY, "status 503"),
        (200, {"data": {}}, "no Secret block's content"),
        (200, CANARY, "no Secret block's content"),
        (200, {"data": {"value": {"password": CANARY}}}, "status 200"),
    ]
    with small_prefect() as server:
        for status, content, found in answers:
            server.answers[BLOCK] = [(status, content)]
            with pytest.raises(
                TransientError, match=f"secret in block token: found {found}, expected"
            ) as caught:
                read(SecretPlace(block="token"))
            assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_prefect_that_is_away_may_come_back(home: Path) -> None:
    del home
    with pytest.raises(TransientError, match="secret in block token: found ConnectError"):
        read(SecretPlace(block="token"))


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(TransientError, match="secret in env TOKEN: found nothing, expected one line of text"):
        read(SecretPlace(env="TOKEN"))
    with pytest.raises(TransientError, match="/gone: found No such file or directory, expected a file"):
        read(SecretPlace(file=str(tmp_path / "gone")))


@pytest.mark.parametrize(
    "content", [f"{CANARY}\nmore".encode(), f"{CANARY}\x00".encode(), CANARY.encode() + b"\xff"]
)
def test_what_is_no_line_of_text_is_refused_unseen(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(TransientError) as caught:
        read(SecretPlace(file=str(tmp_path / "token")))
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert secret_reader(lambda _name: SecretStr("x"))(SecretPlace(block="a")).get_secret_value() == "x"
