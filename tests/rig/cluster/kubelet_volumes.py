"""The volumes of the rig's pods: folders of this machine.

A pod of the rig sees the machine's own files, so a path that it mounts a volume at stands for that volume's folder
wherever its variables and its command begin with it. A ConfigMap's or Secret's files are those of the
container's start.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from tests.rig.cluster.kubelet_api import Json

Lookup = Callable[[str, str], Awaitable[Json | None]]
"""Finds ``configmaps``, ``secrets`` and so on by name, in the pod's namespace where they have one."""
File = tuple[str, bytes, int]
"""Its path in the volume, its content and its mode."""
_FILES = {"configMap": ("configmaps", "name"), "secret": ("secrets", "secretName")}
"""Kinds of volumes that are files: which object they are from, and what names it."""
_CLAIM = "persistentVolumeClaim"
_MODE = 0o644


class NotMountedError(Exception):
    """A volume is not there yet; its text is what a kubelet's event says."""


async def mounts_of(pod: Json, container: Json, folder: Path, find: Lookup) -> dict[str, str]:
    """Make what a container mounts; the folder of each by its path in the pod, the longest path first.

    Args:
        folder: The kubelet's.

    Raises:
        NotMountedError: What a volume is made from is missing.
        ValueError: The rig does not know this kind of volume; not retried.
    """
    volumes = {each["name"]: each for each in pod["spec"].get("volumes", ())}
    made = {}
    for mount in container.get("volumeMounts", ()):
        own = folder_of(folder, pod) / mount["name"]
        where = await _folder(volumes[mount["name"]], own, find) / mount.get("subPath", "")
        made[mount["mountPath"].rstrip("/")] = str(where)
    return dict(sorted(made.items(), reverse=True))


def folder_of(folder: Path, pod: Json) -> Path:
    """Where the volumes are that go with their pod."""
    return folder / "volumes" / str(pod["metadata"]["uid"])


def remove(folder: Path, pod: Json) -> None:
    """The pod is no more, and with it go its volumes; a claim's stays."""
    shutil.rmtree(folder_of(folder, pod), ignore_errors=True)


def moved(text: str, folders: Mapping[str, str]) -> str:
    """A path of the pod as it is here; any other text as it is."""
    for there, here in folders.items():
        if text == there or text.startswith(f"{there}/"):
            return here + text.removeprefix(there)
    return text


def all_moved(variables: Mapping[str, str], folders: Mapping[str, str]) -> dict[str, str]:
    """Variables with the paths as they are here, and Python's own for temporary files."""
    temporary = {"TMPDIR": folders["/tmp"]} if "/tmp" in folders else {}
    return temporary | {name: moved(text, folders) for name, text in variables.items()}


async def _folder(volume: Json, own: Path, find: Lookup) -> Path:
    if _CLAIM in volume:
        return await _claimed(volume, find)
    kind = next((each for each in ("emptyDir", *_FILES) if each in volume), None)
    if kind is None:
        expected = ", ".join(("emptyDir", _CLAIM, *_FILES))
        message = f"volume {volume['name']}: found {sorted(volume)}, expected one of {expected}"
        raise ValueError(message)
    _write(await _files(volume, kind, find) if kind in _FILES else [], own)
    return own


async def _claimed(volume: Json, find: Lookup) -> Path:
    """The folder of a claim, once a controller has bound it to a volume of this machine."""
    name = volume[_CLAIM]["claimName"]
    claim = await find("persistentvolumeclaims", name)
    if claim is None:
        message = f'persistentvolumeclaim "{name}" not found'
        raise NotMountedError(message)
    bound = claim.get("status", {}).get("phase") == "Bound"
    there = await find("persistentvolumes", claim["spec"]["volumeName"]) if bound else None
    if not there:
        message = f'PVC "{name}" is not bound'
        raise NotMountedError(message)
    return Path(there["spec"]["hostPath"]["path"])


async def _files(volume: Json, kind: str, find: Lookup) -> Sequence[File]:
    """The files of a ConfigMap or a Secret, with the mode that the volume says."""
    plural, named = _FILES[kind]
    source, word = volume[kind], kind.lower()
    found = await find(plural, source[named])
    if found is None and not source.get("optional"):
        message = (
            f'MountVolume.SetUp failed for volume "{volume["name"]}" : {word} "{source[named]}" not found'
        )
        raise NotMountedError(message)
    data = (found or {}).get("data") or {}
    items = source.get("items") or [{"key": key, "path": key} for key in data]
    if missing := [each["key"] for each in items if found and each["key"] not in data]:
        message = f"references non-existent {word} key: {missing[0]}"
        raise NotMountedError(message)
    mode = source.get("defaultMode", _MODE)
    read = base64.b64decode if kind == "secret" else str.encode
    return [(each["path"], read(data[each["key"]]), each.get("mode", mode)) for each in items if found]


def _write(files: Sequence[File], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path, content, mode in files:
        file = folder / path
        file.unlink(missing_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
