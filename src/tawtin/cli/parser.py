"""The argument parser of one verb: an example in every help, errors in the house's words, flags that all share."""

from __future__ import annotations

import argparse
import os
import re
import sys

from tawtin.cli import exits


class Parser(argparse.ArgumentParser):
    """argparse, with its errors in backticks and the next step named."""

    def error(self, message: str) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - it never returns
        """Say what is wrong and how to see the right way; exit code 2."""
        said = re.sub(r"'([^']*)'", r"`\1`", message)
        wrong = re.match(r"(unrecognized arguments: )(.*)", said)
        if wrong:
            said = f"unknown argument `{wrong[2]}`"
        raise exits.Fault(said, exits.USAGE, hint=f"see `{self.prog} --help`")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """As argparse's own, but given its width: finding it imports shutil, also where no help is shown."""
    try:
        width = os.get_terminal_size().columns
    except OSError:
        width = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=max(40, min(width, 120) - 2))


def make(verb: str, summary: str) -> Parser:
    """Return the parser of one verb, without its arguments."""
    return Parser(
        prog=f"tawtin {verb}",
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=_formatter,
        allow_abbrev=False,
    )


def example(parser: argparse.ArgumentParser, *lines: str) -> None:
    """Put examples at the end of the help."""
    width = max(len(line.partition("  # ")[0]) for line in lines)
    shown: list[str] = []
    for line in lines:
        command, _, why = line.partition("  # ")
        shown.append(f"  {command.ljust(width)}  # {why}" if why else f"  {command}")
    parser.epilog = "examples:\n" + "\n".join(shown)


def local(parser: argparse.ArgumentParser) -> None:
    """Add the flag that every verb has."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def remote(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a verb that speaks to a factory."""
    local(parser)
    group = parser.add_argument_group("which factory")
    group.add_argument("--factory", metavar="URL", help="address; else $TAWTIN_FACTORY, else client.toml")
    group.add_argument(
        "--key-file", metavar="FILE", help="file with the key; else $TAWTIN_KEY, else client.toml"
    )


def verbs(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[Parser]:  # pyright: ignore[reportPrivateUsage]
    """Add second words, such as `tenant create`."""
    return parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)


def sub(
    actions: argparse._SubParsersAction[Parser],  # pyright: ignore[reportPrivateUsage]
    name: str,
    summary: str,
) -> Parser:
    """Add one second word."""
    return actions.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=_formatter,
        allow_abbrev=False,
    )


def count(text: str) -> int:
    """Return a whole number above 0, for `type=`."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number above 0")
    return value


def terminal() -> bool:
    """Whether a person reads and answers."""
    return sys.stdin.isatty() and sys.stdout.isatty()
