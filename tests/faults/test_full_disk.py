"""A disk that is full refuses new work with a clear error, loses none, and the factory goes on when there is space."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.real import RealFactory, Refused

pytestmark = [pytest.mark.slow, pytest.mark.root]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m,mode=0755", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs: the right to mount a tmpfs ({mounted.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def factory(small_disk: Path) -> Iterator[RealFactory]:
    factory = RealFactory(small_disk)
    try:
        factory.up()
        yield factory
    finally:
        factory.end_everything()


def _fill(file: Path) -> None:
    with file.open("wb") as ballast:
        for size in (1 << 20, 1 << 12, 1):
            while True:
                try:
                    os.write(ballast.fileno(), b"\0" * size)
                except OSError:
                    break


@pytest.mark.timeout(180)
def test_a_full_disk_refuses_new_work_loses_none_and_goes_on_when_there_is_space(factory: RealFactory):
    before = [factory.submit(f"before-{number}", beats=20) for number in range(3)]
    ballast = factory.folder / "ballast"
    _fill(ballast)
    refused: list[Refused] = []
    for number in range(60):
        try:
            factory.submit(f"during-{number}", beats=1)
        except Refused as error:
            refused.append(error)
            break
        _fill(ballast.with_name(f"ballast-{number}"))
    assert refused, "the disk was full and everything was accepted"
    assert refused[0].status == 507
    assert refused[0].problem["token"] == "StorageFull"
    assert "space" in refused[0].problem["detail"]
    assert factory.process is not None
    assert factory.process.poll() is None, factory.said()
    for name in before:
        assert factory.phase(name) in {"queued", "placed", "succeeded"}
    for file in factory.folder.glob("ballast*"):
        file.unlink()
    after = _accepted(factory, "after")
    phases = factory.wait_over([*before, after], 60)
    assert {phases[name] for name in [*before, after]} == {"succeeded"}, factory.said()


@pytest.mark.timeout(180)
def test_a_factory_that_is_killed_while_its_disk_is_full_comes_back_with_everything(factory: RealFactory):
    before = [factory.submit(f"before-{number}", beats=5) for number in range(3)]
    ballast = factory.folder / "ballast"
    _fill(ballast)
    factory.kill()
    ballast.unlink()
    factory.up()
    phases = factory.wait_over(before, 60)
    assert set(phases.values()) == {"succeeded"}, factory.said()


def _accepted(factory: RealFactory, key: str) -> str:
    until = time.monotonic() + 20
    while True:
        try:
            return factory.submit(key, beats=1)
        except Refused:
            assert time.monotonic() < until, factory.said()
            time.sleep(0.1)
