"""The errors of Tandem.

TandemError
├── Misconfigured      the operator must change something; the daemon does not start     (exit code 2)
│   └── DataUnusable   data directory, queue or session database cannot be used          (exit code 3)
├── Transient          may go away by itself: retried with backoff
│   ├── NotOnline      no session of the account can do this now
│   ├── Overloaded     a bound is reached: try again later
│   │   └── TooSoon    asked for again a moment after the last time
│   ├── InstancePassive   another instance runs this account: ask there
│   └── StoreUnavailable  the store does not answer
└── Permanent          trying again cannot help
    ├── Rejected       bad input, refused
    ├── NotFound       no such account, chat, message
    ├── Conflict       contradicts what is there
    └── PoisonMessage  a message that can never be written: goes to the dead letters
"""

from __future__ import annotations


class TandemError(Exception):
    """Root of the tree. ``code`` is stable and public; the text says what to do and holds no secret."""

    code = "internal"
    exit_code = 1


class Misconfigured(TandemError):  # noqa: N818 - the tree is named in the field's words, see the docstring
    code = "misconfigured"
    exit_code = 2


class DataUnusable(Misconfigured):
    code = "data_unusable"
    exit_code = 3


class Transient(TandemError):  # noqa: N818
    """``retry_after`` in seconds says when trying again makes sense."""

    code = "unavailable"

    def __init__(self, text: str, retry_after: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class NotOnline(Transient):
    code = "not_online"


class Overloaded(Transient):
    code = "overloaded"


class TooSoon(Overloaded):
    code = "rate_limited"


class InstancePassive(Transient):
    """``holder`` names the instance that runs the account, ``url`` is where its API is found; empty if not known."""

    code = "instance_passive"

    def __init__(self, text: str, retry_after: float = 1.0, *, holder: str = "", url: str = "") -> None:
        super().__init__(text, retry_after)
        self.holder = holder
        self.url = url


class StoreUnavailable(Transient):
    code = "store_unavailable"


class Permanent(TandemError):  # noqa: N818
    code = "permanent"


class Rejected(Permanent):
    code = "invalid_request"


class NotFound(Permanent):
    code = "not_found"


class Conflict(Permanent):
    code = "conflict"


class PoisonMessage(Permanent):
    code = "poison_message"
