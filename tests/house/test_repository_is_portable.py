"""The repository reads the same everywhere: no path of a certain machine, no private package host."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PUBLIC_HOSTS = {"pypi.org", "files.pythonhosted.org"}

# `/home/run` is the home that every sandbox shows to its run.
HOME = re.compile(
    r"(?<![\w.~*-])/(?:"
    + "|".join(["wor" + "k", "roo" + "t", "home/(?!run/)[a-z]+", "Users/[a-z]+"])
    + r")/[\w.]"
)
INDEX = re.compile(r"(?:index-url|extra-index|find-links|registry)\s*[=:]\s*[\"']?https?://([^/\"'\s]+)")


def tracked() -> list[Path]:
    """Files that git knows; in an unpacked archive, all files outside hidden folders."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
    return [ROOT / name for name in names if (ROOT / name).is_file() and ".venv" not in name.parts]


def lines() -> list[tuple[str, int, str]]:
    found: list[tuple[str, int, str]] = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        name = str(path.relative_to(ROOT))
        found += [(name, number, line) for number, line in enumerate(text.splitlines(), 1)]
    return found


def test_no_path_of_a_certain_machine_is_committed() -> None:
    assert [f"{name}:{number}: {line.strip()}" for name, number, line in lines() if HOME.search(line)] == []


def test_no_package_host_but_the_public_index_is_committed() -> None:
    hosts = {match[1] for _, _, line in lines() if (match := INDEX.search(line))}
    locked = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts | locked <= PUBLIC_HOSTS


def test_the_lockfile_fits_the_project() -> None:
    listed = re.findall(r'^name = "([^"]+)"$', (ROOT / "uv.lock").read_text(), flags=re.MULTILINE)
    assert "tawtin" in listed
    assert listed == sorted(listed)
