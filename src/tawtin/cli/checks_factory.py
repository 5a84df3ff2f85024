"""What a factory needs of its own folder: modes of what is secret, port, journal, an engine that runs work."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tawtin.cli import target
from tawtin.model.findings import Finding as Check
from tawtin.model.findings import fault, ok, warning

if TYPE_CHECKING:
    from tawtin.bootstrap.settings import Settings
    from tawtin.engines.local.engine import LocalEngine
    from tawtin.model.base import Record
    from tawtin.model.health import Quarantine
    from tawtin.model.restored import Restored
    from tawtin.ports import Journal, Report

RUN_S = 30
PAGE = 1000
ROUNDS = 5
SHOWN = 5


def secrets(settings: Settings) -> list[Check]:
    """That nobody else reads the data folder and the keys in it."""
    data = Path(settings.data)
    if not data.exists():
        return [ok("data folder", f"{data} is made at the first start")]
    wrong = [
        f"{path} is {stat.filemode(path.stat().st_mode)}"
        for path in (data, *sorted(data.glob("*.key")), data / "journal.db")
        if path.exists()
        and path.stat().st_mode & (0o066 if path.is_dir() else 0o077)  # passing through shows nothing
    ]
    if wrong:
        return [fault("data folder", "; ".join(wrong), f"chmod -R go= {data}")]
    owner = data.stat().st_uid
    if owner != os.geteuid():
        mend = f"run as user {owner}, or chown -R {os.geteuid()} {data}"
        return [fault("data folder", f"{data} belongs to user {owner}, not to {os.geteuid()}", mend)]
    return [ok("data folder", f"{data}, for user {owner} alone")]


def passage(settings: Settings) -> list[Check]:
    """That runs reach their folders where no sandbox binds these for them."""
    from shutil import which

    if os.geteuid() != 0 or (settings.local.sandbox and which("bwrap")):
        return []
    folder = Path(settings.local.root or Path(settings.data, "engine")).absolute()
    closed = [
        str(path)
        for path in folder.parents
        if path.exists() and path != Path(settings.data) and not path.stat().st_mode & 0o001
    ]
    if closed:
        mend = f"chmod o+x {closed[0]}, move the factory, or install bubblewrap"
        return [fault("passage", f"without a sandbox, runs cannot pass through {', '.join(closed)}", mend)]
    return [ok("passage", f"runs can pass through to {folder}")]


def port(settings: Settings) -> list[Check]:
    """That the port is free, or in use by this factory."""
    host, number = settings.api.host, settings.api.port
    if number == 0:
        return [ok("port", "chosen by the system")]
    running = running_pid(settings)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            if running:
                return [ok("port", f"{host}:{number} is in use by this factory, process {running}")]
            reason = (error.strerror or str(error)).lower()
            holder = _listener(number)
            who = f" by process {holder}" if holder else ""
            mend = f"end that process, or choose another port: `port` under [api] in {target.FACTORY}"
            return [fault("port", f"{host}:{number}: {reason}{who}", mend)]
    return [ok("port", f"{host}:{number} is free")]


def running_pid(settings: Settings) -> str:
    """The process of this factory if it is up, else nothing."""
    address = target.read_address(str(Path(settings.data, "address.json")))
    pid = address.get("pid", "")
    return pid if pid.isdecimal() and Path("/proc", pid).exists() else ""


def _listener(number: int) -> str:
    """`pid (name)` of the process that listens on a port, as far as this user may see."""
    inodes: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == number:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(each) in inodes for each in (process / "fd").iterdir()):
                return f"{process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:
            continue
    return ""


def engines(settings: Settings) -> list[Check]:
    """That every engine of `[engines.NAME]` is there, set up rightly, and has nodes that take work."""
    from tawtin.bootstrap.engines import look_at

    return [
        Check(name=f"{name}, {each.name}", state=each.state, found=each.found, mend=each.mend)
        for name, table in settings.engines.items()
        for each in look_at(settings, name, table, deep=False)
    ]


def engine(settings: Settings) -> list[Check]:
    """That the engine runs `true`: launcher, supervisor, sandbox and accounting, in a folder of its own."""
    if not settings.local.enabled:
        return [ok("engine", "this machine runs nothing itself")]
    import msgspec

    from tawtin.engines.local.engine import LocalEngine
    from tawtin.store.artifacts import BlobArtifacts
    from tawtin.store.blobs import LocalBlobs

    with tempfile.TemporaryDirectory(prefix="tawtin-doctor-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # where there is no sandbox, runs have to pass through it
        blobs = LocalBlobs(Path(folder, "artifacts"))
        local = msgspec.structs.replace(
            settings.local, root=str(Path(folder, "engine")), gpus_real=False, gpus_declared=()
        )
        try:
            tried = LocalEngine(local, BlobArtifacts(blobs))
            news = threading.Event()
            tried.open(news.set)
        except Exception as error:  # noqa: BLE001 - whatever it is, the operator has to know
            return [
                fault("engine", f"it does not start: {error}", "mend what the message names, and look again")
            ]
        try:
            began = time.monotonic()
            report = _try_run(tried, news)
            took_ms = int((time.monotonic() - began) * 1000)
        finally:
            tried.retire_launcher()
            tried.close()
        isolated = tried.isolated()
    if report is None:
        return [
            fault(
                "engine",
                f"a run of `true` was not over after {RUN_S} s",
                "look at its processes: ps -ef --forest",
            )
        ]
    if report.exit_code != 0:
        said = f"a run of `true` ended as {report.cause} with exit code {report.exit_code}: {report.message}"
        return [fault("engine", said, "mend what the message names, and look again")]
    return [
        ok("engine", f"a run of `true` took {took_ms} ms, {'sandboxed' if isolated else 'WITHOUT a sandbox'}")
    ]


def _try_run(tried: LocalEngine, news: threading.Event) -> Report | None:
    from tawtin.model.resources import Demand, Shape, Slot
    from tawtin.model.workload import WorkloadSpec
    from tawtin.ports import RunOrder

    shape = Shape(cpus_milli=100, memory_mib=64)
    node = tried.nodes()[0].name
    tried.ensure(
        RunOrder(
            run="wl-doctor.1",
            workload="wl-doctor",
            tenant="doctor",
            tenant_number=1,
            epoch=1,
            spec=WorkloadSpec(
                name="doctor", run="true", demand=Demand(options=(shape,)), max_duration_ms=RUN_S * 1000
            ),
            shape=shape,
            slots=(Slot(node=node),),
        )
    )
    until = time.monotonic() + RUN_S
    while time.monotonic() < until:
        for report in tried.reports():
            if report.ended_ms is not None:
                return report
        news.wait(0.2)
        news.clear()
    return None


# --- the journal -----------------------------------------------------------------------------------------------------


@contextmanager
def _opened(settings: Settings) -> Generator[Journal]:
    """The journal, for reading; the factory may be up meanwhile."""
    from tawtin.bootstrap.wire import journal_url
    from tawtin.store.open import open_journal
    from tawtin.store.sqlite import SqliteJournal

    url = journal_url(settings)
    path = url.removeprefix("sqlite:///")
    journal = SqliteJournal(Path("/", path), read_only=True) if path != url else open_journal(url)
    try:
        yield journal
    finally:
        journal.close()


def journal(settings: Settings) -> list[Check]:
    """That the journal can be read."""
    if not settings.store.journal and not Path(settings.data, "journal.db").exists():
        return [ok("journal", "is made at the first start")]
    try:
        with _opened(settings) as opened:
            head = opened.head()
            rows = sum(1 for _ in opened.live())
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator has to know
        return [
            fault(
                "journal", f"it cannot be read: {error}", "restore a backup, or mend what the message names"
            )
        ]
    return [ok("journal", f"{head.size} entries, {rows} live records, root {head.root.hex()[:16]}...")]


def restored(settings: Settings) -> list[Check]:
    """Whether the journal is the one that this factory had last, and whether peers are still asked about a restore."""
    from tawtin.model.restored import ID
    from tawtin.runtime.hindsight import behind_mark
    from tawtin.runtime.rows import decode
    from tawtin.store.mark import FILE, MarkFile

    if not settings.store.journal and not Path(settings.data, "journal.db").exists():
        return []
    try:
        mark = MarkFile(Path(settings.data, FILE)).read()  # before the journal, which goes on meanwhile
        with _opened(settings) as opened:
            behind, row = behind_mark(opened, mark), opened.get("meta", ID)
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator has to know
        return [fault("store", f"it cannot be read: {error}", "see what `journal` says above")]
    if behind:
        mend = "if it was put back from a backup: tawtin up, which notices; else put back the one that is missing"
        return [fault("store", f"it is older than the factory has been: {behind}", mend)]
    if row is None:
        return [ok("store", "it was never put back from a backup")]
    last: Restored = decode("meta", row)
    said = f"put back from a backup {last.count} times, last noticed by {last.by}: {last.why}"
    if last.over:
        return [ok("store", f"{said}; peers have said what they know")]
    mend = "tawtin peer list names the peers that are waited for; tawtin peer waive NAME, for one that is gone for good"
    return [
        warning("store", f"{said}; nothing goes to peers until all of them have said what they know", mend)
    ]


def quarantines(settings: Settings) -> list[Check]:
    """Whether GPUs or nodes are out of service."""
    from tawtin.ports import Query
    from tawtin.runtime.rows import decode

    if not settings.store.journal and not Path(settings.data, "journal.db").exists():
        return []
    try:
        with _opened(settings) as opened:
            rows = opened.list(Query(kind="quarantine", limit=10_000))
    except Exception:  # noqa: BLE001 - `journal` above says it
        return []
    found: list[Quarantine] = [decode("quarantine", row) for row in rows]
    return [
        warning(
            f"quarantine {each.node}",
            f"{f'GPU {each.gpu}' if each.gpu else 'the node'} is out of service ({each.kind.value}): {each.why}",
            "mend or reset it, then: tawtin node return",
        )
        for each in sorted(found, key=lambda each: each.key)
        if each.out
    ]


def deep(settings: Settings) -> list[Check]:
    """That the Merkle root follows from the entries, and every row from the events."""
    if not settings.store.journal and not Path(settings.data, "journal.db").exists():
        return [ok("journal, deep", "nothing was kept yet")]
    found: list[Check] = []
    try:
        for _ in range(ROUNDS):
            with _opened(settings) as opened:
                found, moved = _compared(settings, opened)
            if not moved or all(check.state == "ok" for check in found):
                break
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator has to know
        return [
            fault(
                "journal, deep",
                f"it cannot be replayed: {error}",
                "restore a backup; keep this one for a look",
            )
        ]
    return found


def _compared(settings: Settings, opened: Journal) -> tuple[list[Check], bool]:
    """Checks, and whether the factory wrote meanwhile, so that a difference may be no fault."""
    from tawtin.bootstrap.wire import site_of
    from tawtin.core.chain import Chain, leaf_hash
    from tawtin.core.fold import fold
    from tawtin.core.state import State
    from tawtin.model.events import decode_entry
    from tawtin.runtime.rows import KINDS, decode

    head = opened.head()
    chain, state = Chain(), State(site_of(settings))
    wanted: dict[tuple[str, str], bytes] = {}
    for start in range(0, head.size, PAGE):
        bodies = opened.events(start, min(PAGE, head.size - start))
        chain = chain.extended(map(leaf_hash, bodies))
        for body in bodies:
            fold(state, decode_entry(body))
        changed: dict[tuple[str, str], Record | None] = state.take_changed()
        wanted.update((key, _digest(record)) for key, record in changed.items())
    if chain.size != head.size or chain.root() != head.root:
        said = f"the entries give {chain.root().hex()[:16]}..., the journal says {head.root.hex()[:16]}..."
        mend = "entries were changed after they were written: restore a backup, and find out who could write there"
        return [fault("merkle root", said, mend)], False
    wrong: list[str] = []
    compared = 0
    for (kind, name), digest in wanted.items():
        if kind == "idempotency" or kind not in KINDS:
            continue
        compared += 1
        body = opened.get(kind, name)
        if _digest(decode(kind, body) if body else None) != digest:
            wrong.append(f"{kind} {name}")
    moved = opened.events(head.size, 1) != []
    root = ok("merkle root", f"{head.size} entries give {head.root.hex()}")
    if wrong:
        shown = ", ".join(wrong[:SHOWN]) + (f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
        mend = (
            "rows were changed beside the log, or prices or pauses are set to others than were in force then"
        )
        return [
            root,
            fault("state from events", f"{len(wrong)} of {compared} records differ: {shown}", mend),
        ], moved
    return [root, ok("state from events", f"{compared} records, all as the events say")], moved


def _digest(record: Record | None) -> bytes:
    """Of a record, whatever the order of keys in its mappings; nothing for one that is gone."""
    import msgspec

    return (
        b"" if record is None else hashlib.sha256(msgspec.json.encode(record, order="deterministic")).digest()
    )


def rules(settings: Settings) -> list[Check]:
    """Whether the residency rules can be used, and give the answers that they say they give."""
    import time

    from tawtin.core.residency import Judge, trial
    from tawtin.rules.load import load_packs

    found = load_packs(Path(settings.rules.folder) if settings.rules.folder else None)
    checks = [
        fault("rules", each.why, "mend the pack; until then everything that it touches is refused")
        for each in found.broken
    ]
    judge = Judge(found.packs, found.broken)
    now_ms = time.time_ns() // 1_000_000
    wrong = [f"{pack.country}: {said}" for pack in found.packs for said in trial(judge, pack, now_ms)]
    if wrong:
        checks.append(fault("rules", "; ".join(wrong[:SHOWN]), "tawtin rules check"))
    if not checks:
        cases = sum(len(pack.cases) for pack in found.packs)
        checks.append(ok("rules", f"{len(found.packs)} packs, {cases} cases pass; no legal advice"))
    return checks


def listening(settings: Settings) -> list[Check]:
    """Whether the factory is up and answers."""
    address = target.read_address(str(Path(settings.data, "address.json")))
    pid = running_pid(settings)
    if not address or not pid:
        return [warning("factory", "it is not up", "tawtin up")]
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlsplit

    connection = HTTPConnection(urlsplit(address["url"]).netloc, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        said = f"{answer.status} {answer.read(200).decode(errors='replace').strip()}"
        if answer.status == 200:
            return [ok("factory", f"up at {address['url']}, process {pid}: {said}")]
    except (OSError, HTTPException) as error:
        said = str(error)
    finally:
        connection.close()
    return [
        fault(
            "factory", f"process {pid} at {address['url']} says: {said}", "look at its log: data/factory.log"
        )
    ]


CHECKS: tuple[Callable[[Settings], list[Check]], ...] = (
    secrets,
    passage,
    port,
    rules,
    journal,
    restored,
    quarantines,
    engines,
    engine,
    listening,
)
"""Checks of one factory's folder."""
