"""The doctor finds what is wrong, and its mend mends it."""

from __future__ import annotations

import socket
import sqlite3
from typing import Any

import pytest

from tawtin.cli import exits
from tests.cli.conftest import Home, Told

pytestmark = pytest.mark.timeout(300)
KEYS = {"events": "seq", "records": "id"}


def checks(told: Told) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in told.json["checks"]}


def test_every_fault_and_every_weakness_has_its_mend(home: Home) -> None:
    told = home.tawtin("doctor", "--json")
    assert told.code == exits.OK, told.out
    found = checks(told)
    assert {
        "python",
        "gpus",
        "sandbox",
        "cgroups",
        "clock",
        "disk space",
        "port",
        "journal",
        "engine",
    } <= set(found)
    assert [name for name, check in found.items() if check["state"] != "ok" and not check.get("mend")] == []
    assert found["engine"]["found"].startswith("a run of `true` took")


def test_a_machine_without_a_factory_is_examined_all_the_same(home: Home) -> None:
    told = home.tawtin("doctor", str(home.folder / "elsewhere"), "--json")
    assert told.code == exits.OK
    assert checks(told)["settings"]["mend"] == "tawtin init"


def test_settings_that_cannot_be_read_are_a_fault_with_their_line(home: Home) -> None:
    (home.folder / "factory.toml").write_text('[factory]\nname = "x"\ncountry = "MA"\n[api]\nport = "many"\n')
    told = home.tawtin("doctor", "--json")
    assert told.code == exits.FAILED
    assert "factory.toml:5: api.port" in checks(told)["settings"]["found"]


def test_a_key_that_others_can_read_is_a_fault_and_the_mend_mends_it(home: Home) -> None:
    key = home.folder / "data" / "owner.key"
    key.write_text("twk_x_y\n")
    key.chmod(0o644)
    told = home.tawtin("doctor", "--json")
    assert told.code == exits.FAILED
    check = checks(told)["data folder"]
    assert "owner.key" in check["found"]
    assert check["mend"] == f"chmod -R go= {home.folder / 'data'}"
    key.chmod(0o600)
    assert checks(home.tawtin("doctor", "--json"))["data folder"]["state"] == "ok"


def test_a_port_in_use_names_who_holds_it(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = home.folder / "factory.toml"
        settings.write_text(settings.read_text().replace("port = 0", f"port = {port}"))
        told = home.tawtin("doctor", "--json")
    assert told.code == exits.FAILED
    check = checks(told)["port"]
    assert f"127.0.0.1:{port}" in check["found"]
    assert "by process" in check["found"]


def test_deep_replays_the_log_while_the_factory_is_up_and_finds_it_true(home: Home) -> None:
    home.up()
    for number in range(3):
        assert home.tawtin("run", "-y", "--name", f"job-{number}", "--", "true").code == exits.OK
    told = home.tawtin("doctor", "--deep", "--json")
    assert told.code == exits.OK, told.out
    found = checks(told)
    assert found["merkle root"]["state"] == "ok"
    assert found["state from events"]["state"] == "ok"
    assert found["factory"]["state"] == "ok"


def ended_factory_with_one_job(home: Home) -> sqlite3.Connection:
    home.up()
    assert home.tawtin("run", "-y", "--name", "job", "--", "true").code == exits.OK
    home.end()
    return sqlite3.connect(home.folder / "data" / "journal.db", isolation_level=None)


def replaced(database: sqlite3.Connection, table: str, kind: str, old: str, new: str) -> int:
    """Change bodies of one kind behind the factory's back; return how many."""
    bodies = database.execute(f"SELECT {KEYS[table]}, body FROM {table} WHERE kind = ?", (kind,)).fetchall()
    changed = 0
    for key, body in bodies:
        other = body.replace(old.encode(), new.encode())
        if other != body:
            database.execute(
                f"UPDATE {table} SET body = ? WHERE {KEYS[table]} = ? AND kind = ?", (other, key, kind)
            )
            changed += 1
    database.close()
    return changed


def test_deep_finds_an_entry_that_was_changed_after_it_was_written(home: Home) -> None:
    database = ended_factory_with_one_job(home)
    assert replaced(database, "events", "WorkloadsSubmitted", '"name":"job"', '"name":"yob"') == 1
    told = home.tawtin("doctor", "--deep", "--json")
    assert told.code == exits.FAILED
    assert checks(told)["merkle root"]["state"] == "fault"


def test_deep_finds_a_row_that_was_changed_beside_the_log(home: Home) -> None:
    database = ended_factory_with_one_job(home)
    assert replaced(database, "records", "workload", '"exit_code":0', '"exit_code":3') == 1
    told = home.tawtin("doctor", "--deep", "--json")
    assert told.code == exits.FAILED
    found = checks(told)
    assert found["merkle root"]["state"] == "ok"
    assert "workload wl-" in found["state from events"]["found"]
