"""What goes wrong is said in lower case, the user's text in backticks, with a next step and an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tawtin.cli import exits, main
from tests.cli.conftest import NAMES, Home

BAD_SPEC = "name: x\nresources:\n  cpus: many\nrun: true\nbogus: 1\n"

BY_THEMSELVES = [
    (["rum"], exits.USAGE, "unknown verb `rum`", "did you mean `tawtin run`?"),
    (["zzz"], exits.USAGE, "unknown verb `zzz`", "tawtin --help"),
    (["ps", "--bogus"], exits.USAGE, "unknown argument `--bogus`", "tawtin ps --help"),
    (["ps", "--limit", "none"], exits.USAGE, "`none` is not a whole number above 0", "tawtin ps --help"),
    (["ps", "--status", "flying"], exits.USAGE, "there is no status `flying`", "queued, starting"),
    (["key", "create", "--scope", "god"], exits.USAGE, "invalid choice: `god`", "tawtin key create --help"),
    (["key", "create", "--expires", "soon"], exits.USAGE, "`soon` is no time", "90d"),
    (["run"], exits.USAGE, "there is nothing to run", "name a spec"),
    (["run", "absent.yaml"], exits.USAGE, "cannot read `absent.yaml`: no such file", ""),
    (["run", "a.yaml", "b.yaml"], exits.USAGE, "one spec at a time, not 2", "--"),
    (["run", "a.yaml", "--gpus", "1"], exits.USAGE, "--gpus goes with a command", "a.yaml"),
    (["run", "a.yaml", "--env", "FOO"], exits.USAGE, "--env: `FOO` has no value", "--env FOO=VALUE"),
    (
        ["run", "a.yaml", "--secret", "NOT_SET_ANYWHERE"],
        exits.USAGE,
        "`NOT_SET_ANYWHERE` is not in the",
        "export",
    ),
    (["usage", "--month", "lately"], exits.USAGE, "--month: `lately` is no month", "2026-11"),
    (["localisation", "--since", "lately"], exits.USAGE, "--since: `lately` is no month", "2026-11"),
    (
        ["localisation", "--by", "planet"],
        exits.USAGE,
        "invalid choice: `planet`",
        "tawtin localisation --help",
    ),
    (["tenant", "set", "lab"], exits.USAGE, "nothing is to be changed", "--help"),
    (["tenant", "set", "lab", "--allow", "Morocco"], exits.USAGE, "--allow: `Morocco` is no country", "MA"),
    (["quota", "set", "lab", "--gpus", "all"], exits.USAGE, "--gpus: `all` is no whole number", "none"),
    (["init", "--country", "Morocco"], exits.USAGE, "--country: `Morocco` is not understood", "MA"),
    (["init", "--country", "QQ"], exits.USAGE, "--country: `QQ` is not understood", "MA"),
    (["init", "--country", "AQ"], exits.USAGE, "the money of `AQ` is not known here", "--currency"),
    (["init", "--currency", "dirham"], exits.USAGE, "--currency: `dirham` is not understood", "MAD"),
    (["init", "--declare-gpus", "8"], exits.USAGE, "--declare-gpus: `8` is not understood", "H100:4"),
    (["up"], exits.USAGE, "no settings at", "tawtin init"),
    (["up", "--set", "api.port"], exits.USAGE, "--set: `api.port` has no value", "api.port=0"),
    (["ps"], exits.UNREACHABLE, "no factory is named", "tawtin init"),
    (["capacity", "--factory", "ftp://here"], exits.DENIED, "no key is named", ""),
    (["capacity", "--key-file", "absent.key"], exits.DENIED, "cannot read the key in `absent.key`", ""),
]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TAWTIN_HOME", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"), BY_THEMSELVES, ids=lambda value: str(value)[:40]
)
def test_a_wrong_call_says_what_is_wrong_and_what_to_do(
    words: list[str], code: int, message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(words) == code
    said = capsys.readouterr()
    assert said.out == ""
    first, *rest = said.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert hint in "\n".join([first, *rest])


def test_an_error_is_json_where_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["ps", "--json", "--status", "flying"]) == exits.USAGE
    said = json.loads(capsys.readouterr().err)
    assert said["error"]["code"] == exits.USAGE
    assert said["error"]["message"] == "--status: there is no status `flying`"


def test_a_bad_spec_is_refused_by_file_line_and_column_for_every_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(BAD_SPEC)
    assert main.main(["run", "bad.yaml"]) == exits.USAGE
    said = capsys.readouterr().err
    assert "error: bad.yaml:3:3: resources.cpus: " in said
    assert "`many`" in said
    assert "error: bad.yaml:5:1: bogus: " in said
    assert "nothing was submitted" in said


def test_a_factory_that_does_not_answer_is_unreachable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "nowhere"
    home.mkdir()
    (home / "client.toml").write_text('factory = "http://127.0.0.1:9"\nkey_file = "a.key"\n')
    (home / "a.key").write_text("twk_a_b\n")
    assert main.main(["version"]) == exits.OK
    assert "not reached" in capsys.readouterr().out


def test_a_client_file_with_an_unknown_field_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "nowhere"
    home.mkdir()
    (home / "client.toml").write_text('facktory = "http://127.0.0.1:9"\n')
    assert main.main(["ps"]) != exits.OK
    assert "unknown field `facktory`" in capsys.readouterr().err


AT_A_FACTORY = [
    (["show", "absent"], exits.NOT_FOUND, "there is no workload `absent`"),
    (["logs", "wl-01m85k8vvnegreszj9w0nxgj9z"], exits.NOT_FOUND, "wl-01m85k8vvnegreszj9w0nxgj9z"),
    (["cancel", "absent"], exits.NOT_FOUND, "there is no workload `absent`"),
    (["explain", "absent"], exits.NOT_FOUND, "there is no workload `absent`"),
    (["artifacts", "get", "abcdef"], exits.NOT_FOUND, "there is no artifact `abcdef`"),
    (["artifacts", "put", "absent"], exits.USAGE, "there is no file or folder `absent`"),
    (["tenant", "show", "absent"], exits.NOT_FOUND, "`absent`"),
    (["tenant", "create", "owner"], exits.CONFLICT, "`owner` exists already"),
    (["tenant", "create", "Bad Name"], exits.USAGE, "id: "),
    (["key", "revoke", "absent"], exits.NOT_FOUND, "`absent`"),
    (["capacity", "--drain", "absent"], exits.NOT_FOUND, "`absent`"),
]


@pytest.mark.parametrize(("words", "code", "message"), AT_A_FACTORY, ids=lambda value: str(value)[:40])
def test_what_a_factory_refuses_has_its_exit_code(
    factory: Home, words: list[str], code: int, message: str
) -> None:
    told = factory.tawtin(*words)
    assert (told.code, told.out) == (code, ""), told.err
    assert told.err.startswith("error: ")
    assert message in told.err


def test_a_wrong_key_is_denied_also_on_the_short_way_of_ps(factory: Home) -> None:
    for verb in ("ps", "capacity"):
        told = factory.tawtin(verb, TAWTIN_KEY="twk_nobody_" + "0" * 52)
        assert told.code == exits.DENIED, told.err


def test_a_key_without_the_right_is_denied_and_the_fast_and_the_long_way_agree(
    factory: Home, tmp_path: Path
) -> None:
    made = factory.tawtin("key", "create", "--scope", "read", "--name", "reader", "--json").json
    (tmp_path / "reader.key").write_text(made["secret"])
    key = ("--key-file", str(tmp_path / "reader.key"))
    assert factory.tawtin("ps", *key).code == exits.OK
    told = factory.tawtin("tenant", "create", "lab", *key)
    assert told.code == exits.DENIED
    assert factory.tawtin("run", "-y", *key, "--", "true").code == exits.DENIED


def test_a_lawless_spec_is_refused_before_anything_is_uploaded(factory: Home, tmp_path: Path) -> None:
    spec = tmp_path / "elsewhere.yaml"
    spec.write_text("name: elsewhere\nrun: true\nresidency: {allow: [SN]}\nworkdir: .\n")
    told = factory.tawtin("run", str(spec), "-y")
    assert told.code == exits.DENIED
    assert "refused" in told.err
    assert "uploaded" not in told.out
    assert factory.tawtin("run", str(spec), "--dry-run").code == exits.DENIED


def test_an_interactive_question_is_never_asked_without_a_terminal(factory: Home) -> None:
    told = factory.tawtin("run", "--detach", "--", "true")
    assert told.code == exits.OK
    assert "submit?" not in told.out


@pytest.mark.parametrize(("country", "want"), [("ZA", "ZAR"), ("SN", "XOF"), ("MA", "MAD")])
def test_a_new_factory_has_the_money_of_its_country(tmp_path: Path, country: str, want: str) -> None:
    assert main.main(["init", str(tmp_path / "new"), "--country", country]) == exits.OK
    assert f'currency = "{want}"' in (tmp_path / "new" / "factory.toml").read_text()
