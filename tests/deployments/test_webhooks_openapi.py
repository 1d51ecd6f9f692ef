"""The receiver keeps what its OpenAPI document says, whatever it is sent: signed, and not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from requests import PreparedRequest
from requests.auth import AuthBase
from schemathesis import Case, GenerationMode
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from deployments.webhook_settings import WebhookSettings
from deployments.webhooks import create_app
from tests.deployments.webhook_servers import (
    GENERIC,
    GITHUB,
    GITLAB,
    from_generic,
    from_github,
    receiving,
    write_service,
)

EXAMPLES = 6
OPERATIONS = ["POST /github", "POST /gitlab", "POST /generic", "GET /health", "GET /deliveries"]


class Signed(AuthBase):
    """Signs a request as its sender does, whatever its body is."""

    def __init__(self, sender: str) -> None:
        self._sender = sender

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add what tells a known sender."""
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        if self._sender == "gitlab":
            request.headers["X-Gitlab-Token"] = GITLAB
            return request
        made: dict[str, Any] = from_github(body) if self._sender == "github" else from_generic(body)
        request.headers.update({name: value for name, value in made["headers"].items() if "Type" not in name})
        return request


@pytest.fixture
def document(home: Path, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[str]:
    """The address of the OpenAPI document of a receiver that has every sender's secret."""
    del home
    write_service(tmp_path / "services")
    options = WebhookSettings.model_validate(
        {
            "github_secret": GITHUB,
            "gitlab_token": GITLAB,
            "generic_secret": GENERIC,
            "rate_limit": "100000/minute",
            "show_deliveries": True,
        }
    )
    with receiving(create_app(tmp_path / "services", options), free_port()) as base:
        yield f"{base}/openapi.json"


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_every_answer_is_one_that_the_document_has(document: str, *, signed: bool) -> None:
    found = schemathesis.openapi.from_url(document).get_all_operations()
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert sorted(operation.label for operation in operations) == sorted(OPERATIONS)
    for operation in operations:
        sends = signed and operation.method == "post"
        auth = Signed(operation.path.strip("/")) if sends else None
        for mode in GenerationMode if sends else [GenerationMode.POSITIVE]:
            hold(operation, auth, mode)


def has_wrong_headers(case: Case[Any]) -> bool:
    """Whether its headers do not fit the document, which signing would put right."""
    headers = case.meta.components.get(ParameterLocation.HEADER) if case.meta else None
    return headers is not None and headers.mode is GenerationMode.NEGATIVE


def hold(operation: APIOperation[Any, Any, Any, Any], auth: Signed | None, mode: GenerationMode) -> None:
    """Send what fits the document, or what does not, and hold each answer against it.

    The document leaves it to GitHub and GitLab what their bodies are, so a body that fits it may be refused.
    """
    theirs = operation.path in ("/github", "/gitlab")

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: Case[Any]) -> None:
        assume(not (auth and has_wrong_headers(case)))
        left_out: list[Any] = [positive_data_acceptance] if theirs else []
        response = case.call_and_validate(auth=auth, timeout=10, excluded_checks=left_out)
        assert response.status_code < 500, response.text

    answers()
