"""Cookies in the words of routes: the header that has one, and the one that keeps a user on a slot. Pure."""

from __future__ import annotations

import re

from tasks.domain.model import Match, Slot, Traffic

COOKIE = "cookie"
SET_COOKIE = "set-cookie"


def cookie_pattern(match: Match) -> str:
    """The regular expression (RE2) that a whole ``cookie`` header meets if it has this cookie."""
    return rf"^(.*;\s*)?{_quoted(match.name)}={_quoted(match.value)}(;.*)?$"


def pin_of(traffic: Traffic, slot: Slot) -> Match:
    """What a user has who was put on *slot* in this release."""
    return Match("cookie", traffic.affinity or "", f"{slot}.{traffic.affinity_key}")


def pinning(traffic: Traffic, slot: Slot) -> str:
    """The ``set-cookie`` header that keeps a user on *slot*."""
    pin, age = pin_of(traffic, slot), round(traffic.affinity_ttl.total_seconds())
    return f"{pin.name}={pin.value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax"


def _quoted(text: str) -> str:
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)
