"""``notify`` in a service file: what one may write, and that a secret written there is never shown."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from tasks.domain.notices import Event, Notices
from tasks.domain.secrets import SecretPlace

SECRET = "planted-secret-4711"
SLACK: dict[str, Any] = {"kind": "slack", "channel": "#releases", "token": {"env": "SLACK_TOKEN"}}
EMAIL: dict[str, Any] = {
    "kind": "email",
    "to": ["ops@shop.example"],
    "from": "davy@shop.example",
    "host": "mx",
}
LOGIN: dict[str, Any] = {"user": "davy", "password": {"file": "/run/secrets/mail"}}
WEBHOOK: dict[str, Any] = {
    "kind": "webhook",
    "url": "https://hooks.example/davy",
    "secret": {"block": "hook"},
}
adapter: TypeAdapter[Any] = TypeAdapter(Notices)


def fault(content: Any) -> str:  # noqa: ANN401 - whatever a file holds
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(content)
    return str(caught.value)


def test_everything_but_passed_verdicts_is_told_unless_the_file_says_otherwise() -> None:
    (slack,) = adapter.validate_python([SLACK])
    assert set(slack.on) == set(Event) - {Event.PASSES}
    assert slack.api == "https://slack.com/api/"
    assert slack.token == SecretPlace(env="SLACK_TOKEN")
    (email,) = adapter.validate_python([EMAIL | LOGIN | {"on": ["gate"]}])
    assert (email.port, email.tls, email.sender, email.on) == (
        587,
        "starttls",
        "davy@shop.example",
        (Event.GATE,),
    )


def test_a_file_comes_back_as_it_was_and_editors_accept_it() -> None:
    contents = [SLACK, EMAIL | LOGIN, WEBHOOK, {"kind": "webhook", "url_from": {"env": "URL"}}]
    read = adapter.validate_python(contents)
    dumped = adapter.dump_python(read, mode="json")
    assert adapter.validate_python(dumped) == read
    assert adapter.validate_json(json.dumps(dumped)) == read
    schema = adapter.json_schema(mode="serialization")
    jsonschema.validate(contents, schema)
    jsonschema.validate(dumped, schema)


def test_yaml_may_take_the_key_on_for_true() -> None:
    content = yaml.safe_load("[{kind: webhook, url: 'https://hooks.example/', on: [end, failure]}]")
    assert adapter.validate_python(content)[0].on == (Event.END, Event.FAILURE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"kind": "pager"}, "'pager'"),
        ({"channel": "#r"}, "'slack', 'email', 'webhook'"),
        ("slack", "'slack', 'email', 'webhook'"),
        (SLACK | {"api": "http://slack.example/api/"}, "found http://slack.example, expected https"),
        (SLACK | {"on": []}, "on"),
        (SLACK | {"on": ["sometimes"]}, "'passes'"),
        (SLACK | {"channel": "two words"}, "channel"),
        (EMAIL | {"tls": "none"}, "tls: found 'none' with host 'mx', expected starttls or tls"),
        (EMAIL | {"user": "davy"}, "found user 'davy' and password None, expected both or neither"),
        (EMAIL | {"to": []}, "to"),
        (EMAIL | {"to": ["a@b.example\nBcc: c@d.example"]}, "to.0"),
        (EMAIL | {"from": "Davy <davy@shop.example>"}, "from"),
        (EMAIL | {"host": "mx:evil\r\n"}, "host"),
        (WEBHOOK | {"url": None}, "found neither url nor url_from, expected one of them"),
        (WEBHOOK | {"url_from": {"env": "URL"}}, "found both url and url_from, expected one of them"),
        (WEBHOOK | {"url": "file:///etc/passwd"}, "expected a web address"),
    ],
)
def test_what_is_wrong_is_refused_naming_the_field(
    content: Any,  # noqa: ANN401 - whatever a file holds
    said: str,
) -> None:
    assert said in fault([content])


def test_plain_smtp_is_for_a_server_on_the_same_machine() -> None:
    for host in ("127.0.0.1", "localhost"):
        assert adapter.validate_python([EMAIL | {"tls": "none", "host": host}])


@pytest.mark.parametrize(
    "place",
    [
        SECRET,
        [SECRET],
        {"value": SECRET},
        {"env": f"{SECRET} x"},
        {"env": "A\n" + SECRET},
        {"file": SECRET},
        {"block": SECRET.upper()},
        {"env": "A", "file": f"/{SECRET}"},
        4711,
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("content", "field"),
    [(SLACK, "token"), (EMAIL | LOGIN, "password"), (WEBHOOK, "secret"), (WEBHOOK, "url_from")],
)
def test_a_secret_where_its_place_was_expected_is_refused_and_not_shown(
    content: dict[str, Any],
    field: str,
    place: Any,  # noqa: ANN401 - whatever a file holds
) -> None:
    said = fault([content | {field: place}])
    assert f"0.{content['kind']}.{field}" in said
    assert (
        "found a value that is not shown, expected one of {env: NAME}, {file: /path} and {block: name}"
        in said
    )
    assert SECRET.lower() not in said.lower()
    assert "4711" not in said


@pytest.mark.parametrize(
    "content",
    [
        SECRET,
        [SECRET],
        SLACK | {"token": SECRET},
        [SLACK | {"tokn": SECRET}],
        [{"kind": "slak", "token": SECRET}],
        [{"token": SECRET}],
        [{"kind": "slack", "token": SECRET}],
        [WEBHOOK | {"url": f"https://user:{SECRET}@hooks.example"}],
        [WEBHOOK | {"url": f"https://hooks.example/{SECRET} "}],
        [SLACK | {"api": f"https://user:{SECRET}@slack.example"}],
        [WEBHOOK | {"url": {"env": "URL", "value": SECRET}}],
    ],
    ids=str,
)
def test_a_secret_that_stands_where_none_belongs_is_not_shown(content: Any) -> None:  # noqa: ANN401 - as above
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(content)
    assert SECRET not in str(caught.value) + repr(caught.value.errors())


def test_exactly_one_place_is_named() -> None:
    assert str(SecretPlace(file="/run/secrets/token")) == "file /run/secrets/token"
    with pytest.raises(ValidationError, match="expected one of"):
        SecretPlace()
    with pytest.raises(ValidationError, match="expected one of"):
        SecretPlace(env="A", block="b")
