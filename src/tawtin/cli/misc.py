"""`version` and `completion`."""

from __future__ import annotations

import argparse
import platform

from tawtin.cli import exits, output, parser
from tawtin.cli.table import VERBS as TABLE


def _configure_version(verb: argparse.ArgumentParser) -> None:
    parser.example(verb, "tawtin version", "tawtin version --json")
    parser.remote(verb)
    verb.set_defaults(call=version)


def _configure_completion(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin completion bash > ~/.local/share/bash-completion/completions/tawtin",
        "tawtin completion zsh > ~/.zfunc/_tawtin  # with that folder in fpath",
        "tawtin completion fish > ~/.config/fish/completions/tawtin.fish",
    )
    verb.add_argument("shell", choices=["bash", "zsh", "fish"], help="for which shell")
    parser.local(verb)
    verb.set_defaults(call=completion)


def version(arguments: argparse.Namespace) -> int:
    """Print both versions; a factory that cannot be reached is no failure here."""
    from tawtin import __version__
    from tawtin.cli import session

    factory = reason = ""
    try:
        with session.connect(arguments) as client:
            who = client.whoami()
            factory = f"{who.factory} ({who.country}), version {who.version}"
    except exits.Fault as fault:
        reason = fault.message
    if arguments.json:
        output.emit({"version": __version__, "python": platform.python_version(), "factory": factory or None})
        return exits.OK
    print(f"tawtin {__version__}, Python {platform.python_version()}")
    print(f"factory: {factory or f'not reached: {reason}'}")
    return exits.OK


def completion(arguments: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    script = shtab.complete(whole_parser(), shell=arguments.shell)
    if arguments.json:
        output.emit({"shell": arguments.shell, "script": script})
    else:
        print(script)
    return exits.OK


def whole_parser() -> argparse.ArgumentParser:
    """Return one parser with all verbs, for tools that want to see all of it."""
    from importlib import import_module

    whole = parser.Parser(prog="tawtin", description="Runs an AI factory, and work on it.")
    verbs = whole.add_subparsers(dest="verb", parser_class=parser.Parser)
    for name, (module, summary) in TABLE.items():
        one = parser.sub(verbs, name, summary)
        import_module(f"tawtin.cli.{module}").VERBS[name](one)
    return whole


VERBS = {"version": _configure_version, "completion": _configure_completion}
