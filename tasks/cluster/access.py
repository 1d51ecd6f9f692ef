"""How a cluster is reached: a kubeconfig's context, or the service account of the pod that Davy runs in."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from kubernetes.client import ApiClient, Configuration
from kubernetes.config import (
    KUBE_CONFIG_DEFAULT_LOCATION,
    load_incluster_config,
    load_kube_config,
)
from kubernetes.config.config_exception import ConfigException

from tasks.domain.errors import InputError

IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
"""The variable that every container of a pod has."""


def client_of(kubeconfig: str | None, context: str | None) -> ApiClient:
    """The client for a cluster; one for each in a process, safe to share between threads.

    Where neither is given, a pod uses its own service account, and everybody else the current
    context of ``KUBECONFIG`` or ``~/.kube/config``.

    Raises:
        InputError: There is no such file or context, or it cannot be read; not retried.
    """
    return _client(kubeconfig, context, os.getpid())


@cache
def _client(kubeconfig: str | None, context: str | None, process: int) -> ApiClient:
    del process  # a child must not share its parent's connections
    configuration = Configuration()
    try:
        if kubeconfig is None and context is None and IN_CLUSTER in os.environ:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            load_kube_config(kubeconfig, context, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, ValueError, TypeError) as error:
        raise _fault(kubeconfig, context, error) from error
    configuration.retries = 0  # who asks again is decided by what was asked
    return ApiClient(configuration)


def _fault(kubeconfig: str | None, context: str | None, error: Exception) -> InputError:
    where = kubeconfig or os.environ.get("KUBECONFIG") or KUBE_CONFIG_DEFAULT_LOCATION
    if not any(Path(one).expanduser().is_file() for one in str(where).split(os.pathsep)):
        return InputError("fleet.kubeconfig", str(where), "a kubeconfig, or to run in a pod of the cluster")
    if context is not None:
        return InputError("fleet.context", context, f"a context of {where} ({error})")
    return InputError("fleet.kubeconfig", str(where), f"a kubeconfig that can be read ({error})")
