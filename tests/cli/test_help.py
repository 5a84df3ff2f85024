"""Every verb and every action shows an example, and what it lists is what there is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import cast

import pytest

from tawtin.cli import exits, main
from tawtin.cli.misc import whole_parser
from tawtin.cli.table import VERBS


def parsers() -> Iterator[argparse.ArgumentParser]:
    def below(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                below_it = cast("dict[str, argparse.ArgumentParser]", action.choices)
                for each in below_it.values():
                    yield each
                    yield from below(each)

    yield from below(whole_parser())


PARSERS = list(parsers())


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_every_help_has_an_example_of_its_own(parser: argparse.ArgumentParser) -> None:
    examples = [line.strip() for line in (parser.epilog or "").splitlines()[1:]]
    assert examples
    assert [line for line in examples if not line.startswith(parser.prog)] == []


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.prog)
def test_every_argument_says_what_it_is(parser: argparse.ArgumentParser) -> None:
    silent = [
        each.dest for each in parser._actions if not each.help and each.dest not in {"id", "tenant", "action"}
    ]
    assert silent == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_table_is_there_and_takes_json(verb: str) -> None:
    parser = main.parser_of(verb)
    assert parser.prog == f"tawtin {verb}"
    flags = {
        flag
        for each in [parser, *[one for one in PARSERS if one.prog.startswith(f"tawtin {verb} ")]]
        for action in each._actions
        for flag in action.option_strings
    }
    assert "--json" in flags


def test_the_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == exits.OK
    said = capsys.readouterr().out
    assert [verb for verb in VERBS if f"  {verb} " not in said] == []


def test_no_verb_at_all_is_a_usage_error_that_shows_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == exits.USAGE
    assert "verbs:" in capsys.readouterr().out


def test_help_for_a_verb_can_be_asked_for_in_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    for words in (["help", "ps"], ["ps", "--help"]):
        assert main.main(words) == exits.OK
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "usage: tawtin ps" in said[0]


def test_every_exit_code_has_a_meaning() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert codes == set(exits.MEANINGS)
