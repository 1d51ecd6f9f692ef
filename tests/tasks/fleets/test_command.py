"""What a service file's command, environment and folder must be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tasks.domain.errors import InputError
from tasks.domain.model import Revision, Slot
from tasks.domain.parts import LocalFleet
from tasks.domain.settings import settings
from tasks.domain.spec import ServiceFile
from tasks.fleets.local import LocalProcesses
from tasks.journal import take

Make = Callable[..., ServiceFile]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("fleet.command", {"command": "no-such-program {port}"}),
        ("fleet.command", {"command": "./here {port}"}),
        ("fleet.command", {"command": "/etc/passwd {port}"}),
        ("fleet.command", {"command": "python 'half a quote {port}"}),
        ("fleet.command", {"command": " ", "environment": {"PORT": "{port}"}}),
        ("fleet.command", {"command": "python 8080"}),
        ("fleet.command", {"command": "python {port} {colour}"}),
        ("fleet.command", {"command": "python {port.__class__} {port}"}),
        ("fleet.command", {"command": "python {port} {"}),
        ("fleet.environment.TEXT", {"command": "python {port}", "environment": {"TEXT": "{}"}}),
        ("fleet.directory", {"command": "python {port}", "directory": "/no/such/folder"}),
    ],
)
def test_bad_fields_are_refused_by_name_before_anything_is_touched(
    service: Make, field: str, changes: dict[str, object]
) -> None:
    fleet = LocalProcesses(service().model_copy(update={"fleet": LocalFleet.model_validate(changes)}))
    with pytest.raises(InputError) as raised:
        fleet.check("v1")
    assert raised.value.field == field
    lease = take("shop", "release-1")
    with pytest.raises(InputError) as raised:
        fleet.deploy(Revision("shop", Slot.BLUE, "v1"), 1, lease)
    assert raised.value.field == field
    assert not settings().replicas.exists()
