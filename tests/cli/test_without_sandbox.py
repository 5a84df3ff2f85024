"""A factory without a sandbox says so loudly, runs its owner's work, and refuses everybody else's."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tawtin.cli import exits
from tests.cli.conftest import Home, made

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def home() -> Iterator[Home]:
    """Where other users can pass through, as they cannot in pytest's own folder."""
    folder = Path(tempfile.mkdtemp(prefix="tawtin-test-"))
    folder.chmod(0o711)
    home = made(folder / "home")
    (folder / "home").chmod(0o711)
    yield home
    home.end()
    shutil.rmtree(folder)


def test_without_a_sandbox_the_owners_work_alone_is_run_and_all_say_so(home: Home) -> None:
    home.up("--set", "local.sandbox=false")
    told = home.tawtin("run", "-y", "--", "id", "-u")
    assert told.code == exits.OK, told.out + told.err
    assert "sandbox  NONE" in told.out
    if os.geteuid() == 0:
        assert told.out.splitlines()[-1] not in {"0", ""}
    assert "NO SANDBOX" in home.tawtin("capacity").out
    assert home.tawtin("tenant", "create", "lab").code == exits.OK
    refused = home.tawtin("run", "-y", "--tenant", "lab", "--json", "--", "true")
    assert refused.code == exits.DENIED
    assert json.loads(refused.err)["error"]["token"] == "SandboxMissing"


def test_without_a_sandbox_a_run_of_another_user_cannot_read_the_factorys_key(home: Home) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs: root, as only then runs have a user of their own without a sandbox")
    home.up("--set", "local.sandbox=false")
    key = home.folder / "data" / "owner.key"
    told = home.tawtin("run", "-y", "--pass-exit-code", "--", "cat", str(key))
    assert told.code == exits.FAILED
    assert key.read_text().strip() not in told.out
    assert home.tawtin("run", "-y", "--", "ls", str(home.folder / "data")).code == exits.FAILED


def test_the_doctor_names_the_folder_that_is_closed_to_runs(home: Home) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs: root, as only then runs have a user of their own without a sandbox")
    settings = home.folder / "factory.toml"
    settings.write_text(settings.read_text().replace("[local]", "[local]\nsandbox = false"))
    home.folder.chmod(0o700)
    told = home.tawtin("doctor", "--json")
    assert told.code == exits.FAILED
    check = next(each for each in told.json["checks"] if each["name"] == "passage")
    assert check["mend"].startswith(f"chmod o+x {home.folder}")
