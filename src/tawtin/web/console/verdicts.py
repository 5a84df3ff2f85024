"""What a verdict says, in the reader's language: the label that the rule's pack gives it, else words of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.core.residency import Judge
    from tawtin.web.console.words import Words


def says_of(judge: Judge, words: Words) -> Callable[[str], str]:
    """What a rule says, by its id; empty where nothing is known of it in this language."""
    labels = {
        rule.id: getattr(rule.label, words.tag, "") for pack in judge.packs.values() for rule in pack.rules
    }

    def says(rule: str) -> str:
        key = f"rules-says-{rule.replace('.', '-')}"
        return labels.get(rule, "") or (words.plain(key) if words.has(key) else "")

    return says
