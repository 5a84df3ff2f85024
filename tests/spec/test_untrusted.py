"""Hostile YAML costs no more than its own bytes, and what it smuggles is refused."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from tawtin.spec import SpecError, parse_yaml

SECONDS_MAX = 5.0
BYTES_MAX = 64 << 20


def refusal(text: str | bytes) -> str:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text)
    return str(caught.value)


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def merges(levels: int) -> str:
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 10)}]\n  k{n}: v" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(laughs(12), "a spec has at most 50000 values", id="billion laughs"),
        pytest.param(merges(12), "a spec has at most 50000 values", id="billion merges"),
        pytest.param("a: " + "[" * 1_000_000, "a spec nests at most 32 levels deep", id="deep lists"),
        pytest.param("{a: " * 200_000, "a spec nests at most 32 levels deep", id="deep mappings"),
        pytest.param("- " * 500_000, "a spec nests at most 32 levels deep", id="deep dashes"),
        pytest.param("a: [" + "1," * 400_000 + "]", "a spec has at most 50000 values", id="long list"),
        pytest.param("run: x\n" + "#" * (1 << 20), "a spec has at most 1048576 bytes", id="large"),
        pytest.param("a: &a [*a]", "the alias `*a` is used inside or before what it names", id="endless"),
        pytest.param("a: *b", "alias", id="unknown alias"),
        pytest.param("? " * 300_000, "", id="complex keys"),
        pytest.param("run: " + "&a " * 300_000, "", id="anchors"),
        pytest.param("'" * 1_000_000, "", id="quotes"),
        pytest.param(
            "run: x\n" + "".join(f"k{n}: v\n" for n in range(24_000)), "there is no field", id="many keys"
        ),
        pytest.param(
            "run: x\nenvs:\n" + "".join(f"  k{n}: v\n" for n in range(1001)), "at most 1000", id="many envs"
        ),
    ],
)
def test_a_bomb_is_refused_in_bounded_time_and_memory(text: str, want: str) -> None:
    tracemalloc.start()
    start = time.process_time()
    try:
        message = refusal(text)
        seconds = time.process_time() - start
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert want in message
    assert seconds < SECONDS_MAX
    assert peak < BYTES_MAX


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("run: x\nrun: y", "2:1: the key `run` is given twice"),
        ("envs: {A: 1, A: 2}\nrun: x", "1:14: the key `A` is given twice"),
        (
            "a: !!python/object:os.system x",
            "1:4: the tag `tag:yaml.org,2002:python/object:os.system` is not allowed",
        ),
        ("a: !custom x", "the tag `!custom` is not allowed"),
        ("? [a]\n: b", "a key is text, not a list or mapping"),
        ("<<: text\nrun: x", "`<<` takes a mapping"),
        ("run: x\n---\nrun: y", "2:1: a second document starts here"),
        ("run: [unclosed", "this is no YAML"),
        ("run: 'x", "this is no YAML"),
        ("\trun: x", "this is no YAML"),
        ("just text", "this takes a mapping of fields, not `just text`"),
        ("- run: x", "this takes a mapping of fields, not a list"),
        ("", "there is nothing in it"),
        ("# nothing\n", "there is nothing in it"),
        (b"run: \xff\xfe", "<spec>:1:1: a spec is UTF-8 text"),
        (b"\xff\xfer\x00u\x00n\x00", "a spec is UTF-8 text"),
        ('run: "a\\0b"', "this holds a NUL character"),
        ("run: a\x00b", "this is no YAML"),
        ('run: x\nname: "\\e[31mred"', "is no name"),
        ('run: x\nworkdir: "a\\nb"', "holds control characters"),
        ("run: x\nenvs: {A: " + "y" * 200_000 + "}", "this is longer than 100000 characters"),
        ("run: x\nnum_nodes: 99999999999999999999999999", "this takes a whole number"),
        ("run: x\nworkdir: ../../etc", "climbs out with `..`"),
        ("run: x\noutputs: [../../etc/shadow]", "climbs out with `..`"),
        ("run: x\noutputs: {a: /etc/shadow}", "is not inside the working folder"),
        ("run: x\noutputs: [.]", "is the whole working folder"),
        ("run: x\noutputs: [a/x, b/x]", "two outputs are called `x`"),
        ("run: x\nfile_mounts: {/proc/self: ./x}", "belongs to the system"),
        ("run: x\nfile_mounts: {//usr//bin: ./x}", "belongs to the system"),
        ("run: x\nfile_mounts: {~: ./x}", "belongs to the system"),
        ("run: x\nfile_mounts: {~root/x: ./x}", "another user's home"),
        ("run: x\nfile_mounts: {/data: ./x, /data/in: ./y}", "lies inside another mount"),
        ("run: x\nfile_mounts: {/data: ./x, /data/: ./y}", "as well; choose another path"),
        ("run: x\nworkdir: sha256:123", "is no artifact"),
    ],
)
def test_what_is_smuggled_is_refused_with_its_place(text: str | bytes, want: str) -> None:
    assert want in refusal(text)


def test_windows_lines_and_byte_order_marks_change_nothing() -> None:
    unix = "name: x\nrun: |\n  echo a\n  echo b\n"
    want = parse_yaml(unix).spec
    assert parse_yaml(unix.replace("\n", "\r\n")).spec == want
    assert parse_yaml("\ufeff" + unix).spec == want
    assert parse_yaml(("\ufeff" + unix).encode()).spec == want


def test_an_error_quotes_one_printable_line() -> None:
    message = refusal('run: x\ntype: "a\\n\\e[2J' + "z" * 1000 + '"')
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 400
