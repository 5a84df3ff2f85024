"""Completion scripts are what their shells can load, and they know every verb."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tawtin.cli import exits, main
from tawtin.cli.table import VERBS


@pytest.fixture(params=["bash", "zsh", "fish"])
def script(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> tuple[str, Path]:
    shell = str(request.param)
    assert main.main(["completion", shell]) == exits.OK
    path = tmp_path / f"tawtin.{shell}"
    path.write_text(capsys.readouterr().out)
    return shell, path


def test_a_completion_script_knows_every_verb(script: tuple[str, Path]) -> None:
    text = script[1].read_text()
    assert [verb for verb in VERBS if verb not in text] == []


def test_a_completion_script_is_loaded_by_its_shell(script: tuple[str, Path]) -> None:
    shell, path = script
    if shutil.which(shell) is None:
        pytest.skip(f"needs: the shell {shell} (Debian package {shell})")
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_verbs_and_flags(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs: the shell bash (Debian package bash)")
    assert main.main(["completion", "bash"]) == exits.OK
    (tmp_path / "tawtin.bash").write_text(capsys.readouterr().out)
    program = """
source "$1"
function=$(complete -p tawtin | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); $function; echo "${COMPREPLY[@]}"; }
complete_line tawtin ca
complete_line tawtin tenant cr
complete_line tawtin run --pass-
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", program, "bash", str(tmp_path / "tawtin.bash")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["cancel", "capacity"],
        ["create"],
        ["--pass-exit-code"],
    ]
