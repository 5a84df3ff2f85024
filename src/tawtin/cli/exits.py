"""Exit codes: what a script can tell from them. docs/reference/exit-codes.md is made from this table."""

from __future__ import annotations

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
DENIED = 4
NOT_FOUND = 5
DETACHED = 6
CONFLICT = 7
FACTORY = 8
INTERRUPTED = 130

MEANINGS: dict[int, str] = {
    OK: "done; for `run` and `logs -f`: every workload succeeded",
    FAILED: "a workload failed or was cancelled, or `doctor` found a fault; "
    "with `run --pass-exit-code`, the program's own code instead",
    USAGE: "the command line, a spec or a settings file is wrong; nothing was done",
    UNREACHABLE: "the factory cannot be reached, or it did not answer in time",
    DENIED: "the factory refused: no valid key, a key without that right, or a reason token such as `NoLawfulFactory`",
    NOT_FOUND: "there is no workload, tenant, key or artifact of that name here",
    DETACHED: "it stopped following before the end (detached, or `--timeout` passed); the workload goes on",
    CONFLICT: "something changed meanwhile, the name is taken, or another process holds the data folder",
    FACTORY: "the factory could not do it now: its disk is full, it is overloaded, or it has a fault of its own",
    INTERRUPTED: "ended by Ctrl-C before anything was decided",
}
"""Code -> what it means, for people."""


class Fault(Exception):
    """Ends the command: what went wrong, what to do next, and the exit code."""

    def __init__(self, message: str, code: int = USAGE, *, hint: str = "", token: str = "") -> None:
        """Keep the sentence (lower case, the user's text in backticks) and what to do next."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.token = token
