"""Words and variables for a shell. The standard library alone, as supervisors import it."""

from __future__ import annotations


def quote(text: str) -> str:
    """`text` as one word of the shell."""
    return f"'{text}'" if "'" not in text else "'" + text.replace("'", "'\"'\"'") + "'"


def exports(env: dict[str, str]) -> str:
    """Shell commands that set these variables; those that the shell keeps for itself stay."""
    return "\n".join([f"export {name}={quote(value)} || :" for name, value in sorted(env.items())])
