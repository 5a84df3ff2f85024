"""`tawtin data`, and the page about it as a person follows it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tawtin.cli import exits
from tests.cli.conftest import Home
from tests.docs.pages import ROOT, blocks
from tests.docs.test_commands import commands

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]
PAGE = (ROOT / "docs" / "how-to" / "data.md").read_text()


def test_the_page_about_datasets_works_as_it_stands(
    factory: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, rows in (("census", "a\nb\nc\n"), ("census-revised", "a\nb\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "people.csv").write_text(rows)
    (spec,) = blocks(PAGE)
    (tmp_path / "count.yaml").write_text(spec.code)
    put, ls, show, run, newer, name = [shlex.split(each)[1:] for each in commands(PAGE)]
    told = factory.tawtin(*put)
    assert told.code == exits.OK, told.err
    assert told.out.startswith("census-2024: personal of MA, 6 B, sha256:")
    listed = factory.tawtin(*ls).out.splitlines()
    assert listed[0].split() == ["NAME", "CLASS", "ORIGIN", "SIZE", "FILES", "PLACES", "ARTIFACT"]
    assert listed[1].split()[:3] == ["census-2024", "personal", "MA"]
    assert "Casablanca" in listed[1]
    shown = factory.tawtin(*show).out
    assert "law:       personal of MA" in shown
    told = factory.tawtin(*run)
    assert told.code == exits.OK, told.err + told.out
    assert "reads    census-2024: personal of MA, sha256:" in told.out
    first = factory.tawtin("show", "count", "--json").json["view"]["workload"]
    (total,) = first["outputs"]
    assert factory.tawtin("artifacts", "get", total["artifact"], str(tmp_path / "got")).code == exits.OK
    assert (tmp_path / "got" / "total").read_text() == "3\n"
    assert factory.tawtin(*newer).code == exits.OK
    told = factory.tawtin("retry", first["id"], "--json")
    assert told.code == exits.OK, told.err
    assert told.json["workloads"][0]["spec"]["mounts"] == first["spec"]["mounts"]
    assert factory.tawtin(*run).code == exits.OK
    second = factory.tawtin("show", "count", "--json").json["view"]["workload"]
    assert second["spec"]["mounts"] != first["spec"]["mounts"]
    told = factory.tawtin(*name[:-1], total["artifact"])
    assert told.code == exits.OK, told.err
    assert told.out.startswith("totals-2024: personal of MA, "), "made of personal data, it is personal data"


def test_an_unknown_name_is_told_at_its_line_by_every_verb_that_reads_a_spec(
    factory: Home, tmp_path: Path
) -> None:
    (tmp_path / "rows").write_text("1\n")
    assert (
        factory.tawtin("data", "put", "rows-1", str(tmp_path / "rows"), "--class", "public").code == exits.OK
    )
    spec = tmp_path / "spec.yaml"
    spec.write_text("name: j\nrun: 'true'\nresources: {cpus: 0.1}\ndata:\n  datasets:\n    - rows-2\n")
    want = (
        f"{spec}:6:7: data.datasets[0]: tenant `owner` has no dataset `rows-2` here; did you mean `rows-1`?"
    )
    for words in (("run", "-y"), ("run", "--dry-run"), ("explain",)):
        told = factory.tawtin(*words, str(spec))
        assert told.code == exits.USAGE
        assert want in told.err
    assert factory.tawtin("show", "j").code == exits.NOT_FOUND, "nothing was submitted"


def test_the_class_of_data_has_to_be_said_and_is_checked(factory: Home, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("2\n")
    put = ("data", "put", "rows", str(tmp_path / "rows"))
    told = factory.tawtin(*put)
    assert told.code == exits.USAGE
    assert "--class: say what the data is" in told.err
    told = factory.tawtin(*put, "--class", "secret")
    assert told.code == exits.USAGE
    assert "`secret` is no class of data: it is one of public, internal" in told.err
    assert factory.tawtin("data", "show", "rows").code == exits.NOT_FOUND


def test_one_file_called_as_the_dataset_is_that_file(factory: Home, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("only row\n")
    told = factory.tawtin("data", "put", "one.csv", str(tmp_path / "one.csv"), "--class", "public")
    assert told.code == exits.OK, told.err
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "name: one\nresources: {cpus: 0.1, memory: 64MB}\ndata: {datasets: [one.csv]}\n"
        "run: cat $TAWTIN_DATASETS/one.csv; echo x > $TAWTIN_DATASETS/one.csv || echo kept\n"
    )
    told = factory.tawtin("run", str(spec), "-y")
    assert told.code == exits.OK, told.err
    assert "only row" in told.out
    assert "kept" in told.out.splitlines()
