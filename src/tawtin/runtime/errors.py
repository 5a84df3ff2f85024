"""What a command can answer instead of doing its work. The web layer turns these into problem+json."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tawtin.model.views import FieldError


class ServiceError(Exception):
    """Base of all; `token` is machine-readable, the message says what to do next."""

    token = "ServiceError"  # noqa: S105 - a name for programs, not a secret

    def __init__(self, message: str, token: str = "") -> None:
        """Keep the message, and a token where the class's own is not enough."""
        super().__init__(message)
        if token:
            self.token = token


class NotFound(ServiceError):
    """No such thing, or it belongs to another tenant: the two look the same."""

    token = "NotFound"  # noqa: S105 - a name for programs, not a secret


class Denied(ServiceError):
    """The key may not do this."""

    token = "Denied"  # noqa: S105 - a name for programs, not a secret


class Refused(ServiceError):
    """A well-formed submission that this factory does not accept; the token is a Refusal, `errors` name the places."""

    token = "Refused"  # noqa: S105 - a name for programs, not a secret

    def __init__(self, message: str, token: str = "", errors: tuple[FieldError, ...] = ()) -> None:
        """Keep the message, the refusal, and the places of the spec that it is about, where there are some."""
        super().__init__(message, token)
        self.errors = errors


class Conflict(ServiceError):
    """It does not fit what is there: an idempotency key used for another request, an id that exists."""

    token = "Conflict"  # noqa: S105 - a name for programs, not a secret


class VersionMismatch(ServiceError):
    """It changed since the caller read it."""

    token = "VersionMismatch"  # noqa: S105 - a name for programs, not a secret


class Invalid(ServiceError):
    """The request is malformed; `errors` name the places."""

    token = "Invalid"  # noqa: S105 - a name for programs, not a secret

    def __init__(self, message: str, errors: tuple[FieldError, ...] = ()) -> None:
        """Keep the message and the places."""
        super().__init__(message)
        self.errors = errors


class Full(ServiceError):
    """The disk is full: nothing new is accepted, and nothing accepted is lost."""

    token = "StorageFull"  # noqa: S105 - a name for programs, not a secret


class Unavailable(ServiceError):
    """The factory cannot do this at the moment; trying again later helps."""

    token = "Unavailable"  # noqa: S105 - a name for programs, not a secret

    def __init__(self, message: str, retry_after_ms: int = 1_000) -> None:
        """Keep the message and after how long to try again."""
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class Overloaded(Unavailable):
    """Too much is in flight."""

    token = "Overloaded"  # noqa: S105 - a name for programs, not a secret
