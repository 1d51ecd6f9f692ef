"""What a canary config's query says in the words of the source it is asked of. Pure.

Kayenta's rules: ``${name}`` in a template stands for a part of the scope, of the query or of
the scope's further parameters, and each source has its own shape around the result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tasks.domain.errors import InputError

WHOLE_QUERY = "PromQL:"
"""Begins an expansion that is all of the query."""

_ESCAPED = "$\\{"
_VARIABLE = re.compile(r"\$\{\s*([^}]*?)\s*\}")
_SCOPE_LABEL = "instance"
"""The label that names a virtual machine on Google's cloud, where nothing else is asked for."""


@dataclass(frozen=True)
class Scope:
    """What a config's queries are asked about: one side, at one time.

    Attributes:
        scope: What ``${scope}`` stands for.
        location: What ``${location}`` stands for; empty binds nothing.
        start: Aware UTC.
        end: Aware UTC.
        step: Between two points.
        extended: Further variables by name; these win over all others.
    """

    scope: str
    location: str
    start: datetime
    end: datetime
    step: timedelta
    extended: Mapping[str, str] = field(default_factory=dict)


def expand_query(
    query: Mapping[str, Any],
    templates: Mapping[str, str],
    scope: Scope,
    scope_label: str = _SCOPE_LABEL,
) -> str:
    """The query that *query* stands for, in *scope*.

    Raises:
        InputError: Its type is not known, a template or variable is missing, or a field that
            its shape needs; not retried.
    """
    kind = query.get("type")
    text = expand_template(query, templates, scope) or ""
    if kind == "prometheus":
        return _promql(query, text, scope, scope_label)
    if kind == "datadog":
        return text or f"{_needed(query, 'metricName')}{{{scope.scope}}}"
    raise InputError("query.type", kind, "prometheus or datadog")


def expand_template(query: Mapping[str, Any], templates: Mapping[str, str], scope: Scope) -> str | None:
    """The query's template with its variables filled in; None without one.

    Raises:
        InputError: The template or a variable is missing; not retried.
    """
    if query.get("customFilter"):
        raise InputError(
            "query.customFilter", query["customFilter"], "customInlineTemplate or customFilterTemplate"
        )
    text, name = query.get("customInlineTemplate"), query.get("customFilterTemplate")
    if not text and not name:
        return None
    if not text and name not in templates:
        raise InputError("query.customFilterTemplate", name, f"one of {', '.join(templates) or 'none'}")
    bound = _bindings(query, scope)

    def value(variable: re.Match[str]) -> str:
        if variable[1] not in bound:
            raise InputError("query", variable[0], f"one of the variables {', '.join(bound)}")
        return bound[variable[1]]

    return _VARIABLE.sub(value, (text or templates[str(name)]).replace(_ESCAPED, "${"))


def _bindings(query: Mapping[str, Any], scope: Scope) -> dict[str, str]:
    """The variables by name: the scope's, then the query's of the same names, then the further ones."""
    own = {"scope": scope.scope, "location": scope.location}
    names = ("scope", "location", *(("project", "resourceType") if query.get("type") == "prometheus" else ()))
    layers = own, {name: query.get(name) for name in names}, scope.extended
    return {name: str(value) for layer in layers for name, value in layer.items() if value not in (None, "")}


def _promql(query: Mapping[str, Any], text: str, scope: Scope, scope_label: str) -> str:
    """The average of a metric's series, or the whole query that a template wrote."""
    if text.startswith(WHOLE_QUERY):
        return text.removeprefix(WHOLE_QUERY)
    labels: Sequence[str] = query.get("labelBindings") or ()
    filters = [*text.split(","), *labels] if text else [*labels, *_machines(query, scope, scope_label)]
    fields = ",".join(query.get("groupByFields") or ())
    average = f"avg({_needed(query, 'metricName')}{{{','.join(filters)}}})"
    return f"{average} by ({fields})" if fields else average


def _machines(query: Mapping[str, Any], scope: Scope, scope_label: str) -> tuple[str, str]:
    """Filters for the virtual machines of a scope, where no template says which series are meant."""
    kind = query.get("resourceType")
    if kind not in ("gce_instance", "aws_ec2_instance"):
        raise InputError("query.resourceType", kind, "gce_instance, aws_ec2_instance or a template")
    for name, value in (("scope", scope.scope), ("location", scope.location)):
        if not value:
            raise InputError(name, value, f"a {name}, which resourceType {kind} needs")
    if kind == "aws_ec2_instance":
        return f'asg_groupName="{scope.scope}"', f'zone=~"{scope.location}.{{1}}"'
    project = scope.extended.get("project")
    zone = f"{f'projects/{project}/' if project else ''}zones/{scope.location}"
    return f'{scope_label}=~"{scope.scope}-.{{4}}"', f'zone=~".+/{zone}-.{{1}}"'


def _needed(query: Mapping[str, Any], name: str) -> str:
    if not query.get(name):
        where = f"query.{name}"
        raise InputError(where, query.get(name), "the name of a metric, or a template")
    return str(query[name])
