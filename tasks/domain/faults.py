"""What is wrong with a service file's content: every field, what was found, what is expected."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tasks.domain.errors import InputError
from tasks.domain.parts import Part
from tasks.domain.spec import ServiceFile


def faults_of(model: type[ServiceFile], error: ValidationError) -> list[InputError]:
    """What `service_adapter` found, in the words of a service file.

    Args:
        model: The strategy's, which knows the keys.
    """
    return [_fault(model, one) for one in _first_words(error)]


def _first_words(error: ValidationError) -> list[ErrorDetails]:
    """The errors, less those that only follow from another one inside the same value."""
    details = error.errors()
    deeper = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(
            len(loc) > len(detail["loc"]) and loc[: len(detail["loc"])] == detail["loc"] for loc in deeper
        )
    ]


def _fault(model: type[ServiceFile], detail: ErrorDetails) -> InputError:
    loc = detail["loc"][1:]
    field = ".".join(str(part) for part in _without_kinds(loc) if part != "[key]") or "service file"
    if detail["type"] == "missing":
        return InputError(field, None, "a value")
    if detail["type"] == "extra_forbidden":
        return InputError(field, detail["input"], _known_keys(model, loc))
    if detail["type"] == "union_tag_invalid":
        kinds = detail["ctx"]["expected_tags"].replace("'", "")
        return InputError(f"{field}.kind", detail["ctx"]["tag"], f"one of {kinds}")
    if detail["type"] == "value_error":
        return _said(field, detail)
    expected = re.sub(r"^(Input|String) should (be )?", "", detail["msg"]).replace("'", "")
    return InputError(field, detail["input"], f"to {expected}" if expected.startswith("match") else expected)


KIND_OF_NOTICE = 2
"""Where pydantic says the kind, behind ``notify`` and a number."""


def _without_kinds(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """*loc* as a file has it: which kind of a part was chosen is no key."""
    if len(loc) > 1 and loc[0] in ("fleet", "router", "versions"):
        return loc[0], *loc[2:]
    if len(loc) > KIND_OF_NOTICE and loc[0] == "notify":
        return *loc[:KIND_OF_NOTICE], *loc[KIND_OF_NOTICE + 1 :]
    return loc


def _said(field: str, detail: ErrorDetails) -> InputError:
    """What one of our own validators says: ``[field: ]found X, expected Y``."""
    text = str(detail["ctx"]["error"]) if "ctx" in detail else detail["msg"]
    before, _, expected = text.partition(", expected ")
    inner, _, found = before.rpartition("found ")
    inner = inner.strip().removesuffix(":")
    where = inner if field == "service file" and inner else ".".join(part for part in (field, inner) if part)
    return InputError(where, _Verbatim(found), expected)


class _Verbatim(str):
    """Text that is shown as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _known_keys(model: type[Part], loc: tuple[int | str, ...]) -> str:
    """Which keys there are where an unknown one stood, the likely one first."""
    known = _keys_at(model, loc[:-1])
    close = get_close_matches(str(loc[-1]), known, n=1, cutoff=0.65)
    return f"no such key; did you mean {close[0]!r}?" if close else f"one of the keys {', '.join(known)}"


def _keys_at(model: type[Part], loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the part that *loc* leads to."""
    here: Any = model.model_json_schema()
    definitions = here.get("$defs", {})
    for part in loc:
        if isinstance(part, int):
            here = here.get("items", here)
        elif "oneOf" in here:
            here = next(one for one in _options(here, definitions) if _is_kind(one, part))
        else:
            here = here.get("properties", {}).get(part, here.get("additionalProperties", {}))
        here = next(iter(_options(here, definitions)), here) if "oneOf" not in here else here
    return sorted(here.get("properties", {}))


def _options(schema: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """The models that *schema* stands for, in its order."""
    options = [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]
    return [definitions[one["$ref"].rpartition("/")[2]] for one in options if "$ref" in one]


def _is_kind(schema: dict[str, Any], kind: str) -> bool:
    return bool(schema["properties"].get("kind", {}).get("const") == kind)
