"""Fields of a form change a spec's text where they stand, and nothing else of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tawtin.spec.edit import FIELDS, EditError, read_fields, write_fields

TEXT = """\
# who asks, and why
name: wheat   # the name

resources:
  cpus: 2  # two
  accelerators: {H100: 8}
# between
run: |
  echo one

  echo two

# the end of the script
data: {class: personal, origin: MA}  # in one line
residency:
  allow:
  - MA
  - SN
setup: |
  true
"""


def test_what_the_text_says_is_in_the_fields() -> None:
    assert read_fields(TEXT) == {
        "name": "wheat",
        "run": "echo one\n\necho two",
        "cpus": "2",
        "memory": "",
        "accelerators": None,
        "class": "personal",
        "origin": "MA",
        "duration": "",
        "countries": "MA, SN",
    }
    assert read_fields("") == dict.fromkeys((field.name for field in FIELDS), "")
    assert read_fields("a: [") is None
    assert read_fields("- a") is None


@pytest.mark.parametrize(
    ("field", "value", "old", "new"),
    [
        ("name", "barley: 2", "name: wheat ", 'name: "barley: 2" '),
        ("name", "yes", "name: wheat ", 'name: "yes" '),
        ("cpus", "0.5", "cpus: 2  # two", "cpus: 0.5  # two"),
        ("cpus", "", "  cpus: 2  # two\n", ""),
        ("memory", "4GB", "{H100: 8}\n", "{H100: 8}\n  memory: 4GB\n"),
        ("run", "true", "  echo one\n\n  echo two\n", "  true\n"),
        ("run", "  a\nb", "run: |\n  echo one\n\n  echo two\n", "run: |2\n    a\n  b\n"),
        ("class", "public", "class: personal", "class: public"),
        ("origin", "", "origin: MA", "origin: null"),
        ("countries", "NO, MA", "allow:\n  - MA\n  - SN\n", 'allow: ["NO", MA]\n'),
        ("duration", "1:30:00", "setup: |\n  true\n", "setup: |\n  true\nmax_duration: 1:30:00\n"),
    ],
)
def test_a_field_is_changed_where_it_stands_and_nothing_else(
    field: str, value: str, old: str, new: str
) -> None:
    assert TEXT.count(old) == 1
    assert write_fields(TEXT, {field: value}) == TEXT.replace(old, new)


def test_a_text_is_begun_from_the_form_alone() -> None:
    given_ = {"name": "x", "run": "echo a\necho b", "memory": "1GB", "class": "personal", "countries": "MA"}
    text = write_fields("# mine\n", given_)
    assert text == (
        "# mine\nname: x\nrun: |\n  echo a\n  echo b\nresources:\n  memory: 1GB\ndata:\n  class: personal\n"
        "residency:\n  allow: [MA]\n"
    )
    assert write_fields("resources:  # nothing yet\nname: x", {"cpus": "1"}) == (
        "resources:  # nothing yet\n  cpus: 1\nname: x"
    )


@pytest.mark.parametrize("text", ["a: [", "resources: [1]\n", "resources: &r 1\nx: *r\n", "{}"])
def test_what_a_form_cannot_change_is_said_and_left_alone(text: str) -> None:
    with pytest.raises(EditError, match="YAML"):
        write_fields(text, {"cpus": "1"})


@given(
    values=st.fixed_dictionaries(
        {}, optional={field.name: st.text(max_size=30) for field in FIELDS if field.name != "accelerators"}
    )
)
def test_whatever_is_typed_comes_back_as_it_was_typed_or_is_refused(values: dict[str, str]) -> None:
    try:
        text = write_fields(TEXT, values)
    except EditError:
        return
    said = read_fields(text)
    assert said is not None
    for name, value in values.items():
        if name == "run":
            want = value.replace("\r\n", "\n").strip("\n")
            assert said[name] == (want if want.strip() else "")
        elif name != "countries":
            assert said[name] == " ".join(value.replace("\r\n", "\n").split())
    assert "# who asks, and why" in text
    assert text.endswith("setup: |\n  true\n") or "duration" in values
