"""The images that the rig's kubelet can pull, and what each brings along."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Image:
    """An image, under any of its tags.

    Attributes:
        entrypoint: What runs where a container names no command.
        tags: Those that exist; None stands for any.
        environment: What it sets, which a container's own variables override.
    """

    entrypoint: Sequence[str] = ()
    tags: Collection[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


Images = Mapping[str, Image] | Callable[[str], bool]
"""By name without tag; or whether an image, named with its tag, exists."""


def find_image(images: Images, reference: str) -> Image | None:
    """What *reference* means; None if it cannot be pulled."""
    if not isinstance(images, Mapping):
        return Image() if images(reference) else None
    image = images.get(name_of(reference))
    exists = image and (image.tags is None or tag_of(reference) in image.tags)
    return image if exists else None


def name_of(reference: str) -> str:
    """The name without tag and digest."""
    name = reference.partition("@")[0]
    return name.removesuffix(f":{tag_of(name)}")


def tag_of(reference: str) -> str:
    """The tag; ``latest`` if none is named."""
    _, colon, tag = reference.partition("@")[0].rpartition("/")[2].partition(":")
    return tag if colon else "latest"
