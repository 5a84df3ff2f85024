"""What can go wrong for a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tawtin.model.views import Problem


class ClientError(Exception):
    """Base of all. The message says what to do next."""


class ConfigError(ClientError):
    """It is not known which factory to speak to, or with which key."""


class ConnectionBroken(ClientError):
    """The factory could not be reached, or the connection ended in the middle. Whether it acted is not known."""


class ApiError(ClientError):
    """The factory answered with a problem."""

    def __init__(self, problem: Problem, request_id: str = "") -> None:
        """Keep the problem, and the id under which the factory's log knows the request."""
        places = [
            ": ".join(
                part
                for part in (each.field or (f"line {each.line}" if each.line else ""), each.message)
                if part
            )
            for each in problem.errors
        ]
        super().__init__(
            "\n".join([problem.detail or problem.title, *places[: 20 if len(places) > 1 else 0]])
        )
        self.problem = problem
        self.request_id = request_id

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def token(self) -> str:
        """The machine-readable reason."""
        return self.problem.token
