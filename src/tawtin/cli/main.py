"""The command `tawtin`: finds the verb, imports it alone, and turns what goes wrong into words and an exit code.

Starting fast is a feature: `--help` builds no parser, and a verb's module is imported only when it is called.
"""

from __future__ import annotations

import sys

from tawtin.cli import exits
from tawtin.cli.table import VERBS


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return dispatch(words)
    except exits.Fault as fault:
        return report(fault, as_json=_wants_json(words))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return exits.INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return exits.OK
    except SystemExit as end:  # argparse, after it printed a help
        return end.code if isinstance(end.code, int) else exits.OK


def dispatch(words: list[str]) -> int:
    """Find the verb, let its module read its arguments, and call it."""
    if not words or words[0] in {"-h", "--help", "help"}:
        if len(words) > 1 and words[1] in VERBS:
            return dispatch([words[1], "--help"])
        print(overview())
        return exits.OK if words else exits.USAGE
    if words[0] in {"-V", "--version"}:
        words = ["version", *words[1:]]
    verb, *rest = words
    if verb not in VERBS:
        raise _unknown(verb)
    parser = parser_of(verb)
    arguments = parser.parse_args(rest)
    arguments.dashes = "--" in rest
    return int(arguments.call(arguments))


def parser_of(verb: str):  # noqa: ANN201 - the type is in a module that `--help` does not need
    """Return the whole parser of one verb."""
    from importlib import import_module

    from tawtin.cli import parser as parsers

    module, summary = VERBS[verb]
    parser = parsers.make(verb, summary)
    import_module(f"tawtin.cli.{module}").VERBS[verb](parser)
    return parser


def overview() -> str:
    """Return the help of the whole command."""
    width = max(len(verb) for verb in VERBS)
    verbs = "\n".join(f"  {verb.ljust(width)}  {summary}" for verb, (_, summary) in VERBS.items())
    return f"""usage: tawtin VERB [...]

Runs an AI factory, and work on it.

verbs:
{verbs}

options:
  -h, --help     print this; `tawtin VERB --help` shows a verb's arguments and examples
  -V, --version  print the version

examples:
  tawtin init && tawtin up --detach   # a factory on this machine
  tawtin run train.yaml               # show the plan, ask, submit, follow the log
  tawtin explain train                # why it waits"""


def report(fault: exits.Fault, *, as_json: bool) -> int:
    """Say on standard error what went wrong."""
    if as_json:
        import json

        said = {"message": fault.message, "code": fault.code, "hint": fault.hint, "token": fault.token}
        print(json.dumps({"error": {name: value for name, value in said.items() if value}}), file=sys.stderr)
    else:
        for line in fault.message.splitlines():
            print(f"error: {line}", file=sys.stderr)
        if fault.hint:
            print(f"  {fault.hint}", file=sys.stderr)
    return fault.code


def _unknown(verb: str) -> exits.Fault:
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean `tawtin {near[0]}`?" if near else "see `tawtin --help`"
    return exits.Fault(f"unknown verb `{verb}`", exits.USAGE, hint=hint)


def _wants_json(words: list[str]) -> bool:
    before = words[: words.index("--")] if "--" in words else words
    return "--json" in before


def _silence_stdout() -> None:
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
