"""What can go wrong, and whether trying again can help.

```
DavyError
├── TransientError      the same call may succeed later: retried
└── PermanentError      it will not: never retried
    ├── InputError      a field of a file, parameter or request is wrong
    │   └── FaultsError several are
    ├── ConflictError   another release of the service is under way
    ├── LeaseLostError  another carrier has taken the release over
    ├── UnhealthyError  a revision did not become, or stay, healthy
    ├── JudgedError     a verdict does not let the release go on
    ├── SupersededError a newer release of the service takes its place
    ├── RejectedError   a person, or a deadline, does not let the release go on
    ├── DriftError      somebody else changed what the release works on
    ├── GoneError       what the release works on is not there any more
    ├── ForbiddenError  a role or a credential does not allow it
    └── JournalError    a journal's hash chain is broken
```

Adapters raise only these; a vendor's exception is the cause (`raise ... from error`).
Messages read *subject: observed, expected*.
"""

from __future__ import annotations

from collections.abc import Sequence


class DavyError(Exception):
    """Base of everything Davy raises on purpose."""


class TransientError(DavyError):
    """The same call may succeed later; verbs retry it."""


class PermanentError(DavyError):
    """Trying again cannot help; the release goes back."""


class InputError(PermanentError):
    """A value from outside is wrong; nothing was touched.

    Args:
        field: Where the value stands, dotted (``steps.1.share``).
        found: The value as given.
        expected: What would have been right.
    """

    def __init__(self, field: str, found: object, expected: str) -> None:
        self.field = field
        self.found = found
        self.expected = expected
        super().__init__(f"{field}: found {found!r}, expected {expected}")


class FaultsError(InputError):
    """Several values from outside are wrong; nothing was touched.

    Args:
        subject: What has them.
        faults: One error for each, at least one; the first is also this error's own.
    """

    def __init__(self, subject: str, faults: Sequence[InputError]) -> None:
        self.faults = faults
        super().__init__(faults[0].field, faults[0].found, faults[0].expected)
        self.args = (
            "\n".join([f"{subject} has {len(faults)} fault(s):", *(f"  {fault}" for fault in faults)]),
        )


class ConflictError(PermanentError):
    """Another release of the service is under way, or holds its lease."""


class SupersededError(PermanentError):
    """A newer release of the service takes this one's place before it has begun."""


class WithdrawnError(PermanentError):
    """A person has cancelled the release before it has begun."""


class LeaseLostError(PermanentError):
    """Another carrier holds the service's lease; this one can change nothing more."""


class UnhealthyError(PermanentError):
    """A revision did not become healthy in time, or a replica of it died."""


class JudgedError(PermanentError):
    """A verdict, or a lack of one, does not let the release go on."""


class RejectedError(PermanentError):
    """A person at a gate, or its deadline, does not let the release go on."""


class DriftError(PermanentError):
    """Somebody else changed what the release works on, and the service file does not let it go on."""


class GoneError(PermanentError):
    """What the release works on is not there any more."""


class ForbiddenError(PermanentError):
    """A role or a credential does not allow it; nothing is known of what was asked for."""


class JournalError(PermanentError):
    """A journal's hash chain is broken: a line was changed or removed."""
