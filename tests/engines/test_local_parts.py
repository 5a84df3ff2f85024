"""Parts of the local engine by themselves: the log's files, durable files, the manifest."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tawtin.engines.local
from tawtin.engines.local.logfile import LogWriter, read_log
from tawtin.engines.local.mountpoints import MountpointError, make
from tawtin.engines.local.settings import LocalSettings
from tawtin.engines.shared import durable
from tawtin.engines.shared.shell import quote


@given(pieces=st.lists(st.binary(min_size=1, max_size=9000), max_size=40), at=st.integers(-120_000, 120_000))
def test_what_is_read_from_a_log_is_what_was_written_at_that_offset(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], at: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer = LogWriter(str(folder), 64 << 10)
    for piece in pieces:
        writer.write(piece)
    whole = b"".join(pieces)
    assert writer.total == len(whole)
    offset, data, dropped, total = read_log(str(folder), at, 5000)
    assert total == len(whole)
    assert data == whole[offset : offset + len(data)]
    asked = max(0, len(whole) + at) if at < 0 else min(at, len(whole))
    assert offset == asked + dropped
    kept = sum(path.stat().st_size for path in folder.iterdir())
    assert kept <= (64 << 10) + (8 << 10)
    assert data or offset == len(whole)
    writer.close()


def test_reading_on_from_each_offset_meets_every_byte_that_was_kept(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), 32 << 10)
    for number in range(20_000):
        writer.write(b"%d\n" % number)
    writer.close()
    at, lines, dropped = 0, b"", 0
    while True:
        offset, data, gap, total = read_log(str(tmp_path), at, 777)
        dropped += gap
        if not data:
            break
        lines += data
        at = offset + len(data)
    assert at == total
    assert len(lines) + dropped == total
    assert lines.startswith(b"0\n1\n")
    assert lines.endswith(b"19999\n")


def test_a_rename_never_replaces_what_is_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert durable.rename_new(str(tmp_path / "a"), str(tmp_path / "c"))
    assert not durable.rename_new(str(tmp_path / "b"), str(tmp_path / "c"))
    with pytest.raises(FileNotFoundError):
        durable.rename_new(str(tmp_path / "absent"), str(tmp_path / "d"))


def test_a_lock_is_held_until_its_holder_lets_go(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    assert not durable.lock_held(path)
    held = durable.lock_file(path)
    assert held is not None
    assert durable.lock_held(path)
    assert durable.lock_file(path) is None
    os.close(held)
    assert not durable.lock_held(path)


def test_a_tree_is_removed_whatever_its_owner_did_to_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("stays", encoding="ascii")
    tree = tmp_path / "tree"
    (tree / "locked" / "inner").mkdir(parents=True)
    (tree / "locked" / "inner" / "file").write_text("x", encoding="ascii")
    (tree / "link").symlink_to(outside)
    os.mkfifo(tree / "pipe")
    (tree / "locked" / "inner").chmod(0)
    (tree / "locked").chmod(0)
    deep = os.open(tree, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    durable.remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "file").read_text(encoding="ascii") == "stays"


def test_a_place_to_mount_on_is_never_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "link").symlink_to(tmp_path / "outside")
    make(str(tmp_path / "home"), "a/b", is_file=False, owner=[])
    make(str(tmp_path / "home"), "a/c", is_file=True, owner=[])
    assert (tmp_path / "home" / "a" / "b").is_dir()
    assert (tmp_path / "home" / "a" / "c").is_file()
    for path in ("link", "link/x", "a/c/x"):
        with pytest.raises(MountpointError, match="is to be mounted on"):
            make(str(tmp_path / "home"), path, is_file=False, owner=[])
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_slate_is_read_as_it_was_last_written(tmp_path: Path) -> None:
    path = str(tmp_path / "state.json")
    slate = durable.Slate(path)
    slate.write({"a": "x" * 1000})
    slate.write({"a": 1})
    assert durable.read_json(path) == {"a": 1}
    with pytest.raises(ValueError, match="do not fit"):
        slate.write({"a": "x" * 4096})


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))
def test_a_quoted_word_is_one_word_to_the_shell(text: str) -> None:
    import shlex

    assert shlex.split(quote(text)) == [text]


def test_the_manifest_lists_every_setting_with_its_default() -> None:
    text = Path(tawtin.engines.local.__file__).with_name("engine.toml").read_text(encoding="utf-8")
    manifest = tomllib.loads(text)
    want = LocalSettings()
    listed = {**msgspec.structs.asdict(LocalSettings()), **manifest["settings"]}
    assert msgspec.convert(manifest["settings"], LocalSettings) == want
    assert set(listed) == {field.name for field in msgspec.structs.fields(LocalSettings)}
    optional = {"cpus_milli", "memory_mib", "disk_mib"}
    assert set(manifest["settings"]) == set(listed) - optional
    assert manifest["name"] == "local"
