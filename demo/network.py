"""Five factories in five countries that know each other, with cables in between that can be cut."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from demo.asking import SETTINGS
from demo.cables import Cables
from demo.claims import Claims, say
from demo.factory import PLACES, Command, DemoError, Factory, Place
from demo.story import PYTHON, WORK

MEGABIT: Final = "1000"


class Network:
    """All of it, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cables = Cables()
        self.clusters = ExitStack()
        """What factories were attached to, ended after them."""
        self.sites = {place.name: Factory(folder / place.country.lower()) for place in PLACES}
        self.home = self.sites["Casablanca"]
        self.away = self.sites["Cape Town"]

    def start(self) -> None:
        """Make the five, start them, and let each know the four others."""
        for place in PLACES:
            self.sites[place.name].make(place)
        settings = self.home.folder / "factory.toml"
        settings.write_text(settings.read_text() + SETTINGS)
        starting = [(name, site.begin("up", "--detach", "--json")) for name, site in self.sites.items()]
        for name, command in starting:
            if command.wait(60) != 0:
                raise DemoError(f"{name} did not start: {command.lines}")
        us = self.ask("peer", "me")
        for here in PLACES:
            adding = [
                self._introduce(here, there, us[there.name]["key"]) for there in PLACES if there != here
            ]
            for command in adding:
                if command.wait(60) != 0:
                    raise DemoError(f"{here.name} did not take a peer: {command.lines}")

    def _introduce(self, here: Place, there: Place, key: str) -> Command:
        site, target = self.sites[here.name], self.sites[there.name]
        address = self.cables.lay(
            here.name,
            there.name,
            (here.country, there.country),
            lambda: int(str(target.address()["url"]).rpartition(":")[2]),
        )
        return site.begin(
            "peer", "add", there.name, "--address", address, "--key", key, "--country", there.country,
            "--lend", f"H100:{here.gpus}", "--lend-cpus", "2", "--mbit", MEGABIT,
            "--price", f"*:{there.minor_per_gpu_hour}", "--price-currency", there.currency, "--json", quiet=True,
        )  # fmt: skip

    def ask(self, *words: str, want: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """Ask all five the same at one time."""
        with ThreadPoolExecutor() as threads:
            asked = {name: threads.submit(site.ask, *words, want=want) for name, site in self.sites.items()}
            return {name: answer.result() for name, answer in asked.items()}

    def end(self) -> list[int]:
        """End everything; return the processes that are left."""
        for site in self.sites.values():
            site.end()
        self.cables.close()
        self.clusters.close()
        return [pid for site in self.sites.values() for pid in site.processes()]

    def remove(self) -> None:
        """Remove all folders."""
        shutil.rmtree(self.folder, ignore_errors=True)


def meet(network: Network, claims: Claims) -> None:
    """Five factories from nothing."""
    say("five factories in five countries: own databases, own keys, nobody in the middle")
    network.start()
    peers = {name: answer["items"] for name, answer in network.ask("peer", "list").items()}
    for name, known in peers.items():
        up = network.sites[name].address()
        print(
            f"   {name}: {up['url']}, process {up['pid']}, knows {', '.join(each['name'] for each in known)}"
        )
        claims.check(f"{name} knows", want=4, got=len(known), see=f"tawtin peer list  # at {name}")
    keys = {each["key"] for known in peers.values() for each in known}
    claims.check("different public keys", want=5, got=len(keys), see="tawtin peer list --json")


def stay(network: Network, claims: Claims) -> None:
    """Personal data of a public hospital stays in Morocco, and the refusals are cited."""
    say("a Moroccan public hospital trains on personal data")
    home = network.home
    home.run("tenant", "create", "hospital", "--kind", "public_body", "--country", "MA")
    key = home.ask("key", "create", "--tenant", "hospital")["secret"]
    hospital = Factory(home.folder)
    hospital.environment["TAWTIN_KEY"] = key
    spec = str(WORK / "hospital.yaml")
    hospital.run("explain", spec)
    places = hospital.ask("explain", spec)["places"]
    refused = [each for each in places if not each["allowed"] and each.get("citation")]
    claims.check(
        "refusals with a citation", want=4, got=len(refused), see="tawtin explain demo/work/hospital.yaml"
    )
    cited = sorted({each["citation"] for each in refused})
    claims.check(
        "the law they cite",
        want="Law 09-08, art. 44",
        got="; ".join(cited)[:80],
        ok=bool(cited) and all("09-08" in each for each in cited),
        see="tawtin rules show MA",
    )
    hospital.run("run", spec, "-y", *PYTHON)
    run = hospital.ask("show", "hospital-training")["runs"][0]
    claims.check(
        "where it ran",
        want="Casablanca, finished",
        got=f"{run.get('factory') or 'Casablanca'}, {run['outcome']}",
        see="tawtin show hospital-training",
    )


def roam(network: Network, claims: Claims) -> None:
    """A public batch that does not fit runs elsewhere, with its files, and both sides agree on what it costs."""
    say("public data, eight GPUs: more than Casablanca has")
    home, away = network.home, network.away
    home.run("run", str(WORK / "batch.yaml"), "-y", *PYTHON)
    home.run("explain", "public-batch")
    shown = home.ask("show", "public-batch")
    run = shown["runs"][0]
    see = "tawtin show public-batch --json"
    claims.check("it ran at", want="Cape Town (ZA)", got=f"{run['factory']} ({run['country']})", see=see)
    receipt = run["roam"].get("receipt", {}).get("receipt", {})
    claims.check(
        "its receipt is signed by Cape Town and countersigned by Casablanca",
        want="both",
        got="both"
        if run["roam"].get("countersignature") and run["roam"]["receipt"]["signature"]
        else "not both",
        see=see,
    )
    billed = _billed(away)
    claims.check(
        "what it cost, minor units of MAD: the run at home and the account at Cape Town",
        want=f"{receipt.get('cost_minor')} and the same",
        got=f"{run['cost_minor']} and {billed}",
        ok=run["cost_minor"] == billed == receipt.get("cost_minor"),
        see="tawtin usage  # at Cape Town",
    )
    bytes_ = {name: _crossed(site) for name, site in (("Casablanca", home), ("Cape Town", away))}
    claims.check(
        "what crossed, by both logs: bytes out of Casablanca, and back",
        want="the same at both, above 0",
        got=f"{bytes_['Casablanca']} and {bytes_['Cape Town']}",
        ok=bytes_["Casablanca"] == bytes_["Cape Town"][::-1] and min(bytes_["Casablanca"]) > 0,
        see="the events FilesCrossed in data/journal.db",
    )
    (kept,) = shown["view"]["workload"]["outputs"]
    folder = network.folder / "fold"
    home.run("artifacts", "get", kept["artifact"], str(folder))
    fold = json.loads((folder / "fold.json").read_text())["fold"]
    claims.check(
        "its output came home",
        want="above 0.9 of the images",
        got=f"{fold['right']} of {fold['tested']}",
        ok=fold["right"] > 0.9 * fold["tested"],
        see="tawtin artifacts list",
    )


def _crossed(site: Factory) -> tuple[int, int]:
    """Bytes of files that left a site, and that came in, by its log."""
    link = sqlite3.connect(f"file:{site.folder / 'data' / 'journal.db'}?mode=ro", uri=True)
    try:
        rows = link.execute("SELECT body FROM events WHERE kind = 'FilesCrossed'").fetchall()
    finally:
        link.close()
    events = [json.loads(body)["event"] for (body,) in rows]
    out, into = (sum(each["size_bytes"] for each in events if each["sent"] is sent) for sent in (True, False))
    return out, into


def _billed(site: Factory) -> int:
    items = site.ask("usage")["items"]
    return sum(each.get("cost_minor", 0) for each in items if each.get("tenant") == "peer-casablanca")


def cut(network: Network, claims: Claims) -> None:
    """The cables of Casablanca are cut while its work is abroad; both countries go on."""
    say("all cables of Casablanca are cut while a run of its is at Cape Town")
    home, away = network.home, network.away
    home.run("run", str(WORK / "long.yaml"), "-y", "--detach")
    _until(lambda: home.ask("show", "across-the-cut")["view"]["status"] == "running", "the run starts", 30)
    began = time.monotonic()
    print(f"   {network.cables.cut('Casablanca')} cables are cut")
    for name, site in (("Casablanca", home), ("Cape Town", away)):
        site.run("run", str(WORK / "local.yaml"), "-y")
        status = site.ask("show", "own-work")["view"]["status"]
        claims.check(
            f"cut off, {name} runs its own work", want="succeeded", got=status, see="tawtin show own-work"
        )
    _until(lambda: _guest(away)["status"] == "succeeded", "the run ends at Cape Town", 60)
    meanwhile = home.ask("show", "across-the-cut")
    claims.check(
        "home waits for it, and starts it nowhere else",
        want="running, 1 run",
        got=f"{meanwhile['view']['status']}, {len(meanwhile['runs'])} run",
        see="tawtin show across-the-cut",
    )
    before = _billed(away)
    network.cables.cut("Casablanca", cut=False)
    print(f"   mended after {time.monotonic() - began:.0f} s")
    _until(
        lambda: home.ask("show", "across-the-cut")["view"]["status"] == "succeeded", "its result comes", 60
    )
    shown = home.ask("show", "across-the-cut")
    see = "tawtin logs across-the-cut"
    runs = [(run["epoch"], run["roam"]["close"]) for run in shown["runs"]]
    claims.check("its runs, by epoch", want=[(1, "finished")], got=runs, see="tawtin show across-the-cut")
    lines = [line.split() for line in home.run("logs", "across-the-cut", quiet=True).splitlines()]
    counted = [line for line in lines if line[:1] == ["line"]]
    claims.check(
        "lines, counted without gap or repeat, and processes that wrote them",
        want="1 to 100, 1",
        got=f"{counted[0][1]} to {counted[-1][1]}, {len({line[4] for line in counted})}"
        if counted
        else "none",
        ok=[int(line[1]) for line in counted] == list(range(1, 101))
        and len({line[4] for line in counted}) == 1,
        see=see,
    )
    claims.check(
        "billed once at Cape Town, and the same at home",
        want=shown["runs"][0]["cost_minor"],
        got=_billed(away) - (before - _guest(away)["run"]["cost_minor"]),
        see="tawtin usage  # at Cape Town",
    )


def _guest(site: Factory) -> dict[str, Any]:
    """The newest guest of a site."""
    return next(
        each
        for each in site.ask("ps", "--all")["items"]
        if each["workload"]["spec"]["name"] == "across-the-cut"
    )


def add_up(network: Network, claims: Claims) -> None:
    """What all five logs say together."""
    say("what the five logs say")
    network.home.run("localisation")
    rate = next(
        each for each in network.home.ask("localisation")["items"] if each.get("tenant") == "hospital"
    )
    claims.check(
        "the hospital's runs at home", want={"home": 1}, got=_some(rate["runs"]), see="tawtin localisation"
    )
    starts: dict[str, int] = {}
    decided = 0
    for at, listed in network.ask("ps", "--all").items():
        site = network.sites[at]
        for view in listed["items"]:
            decided += 1
            name = view["workload"]["spec"]["name"]
            runs = site.ask("show", view["workload"]["id"])["runs"]
            starts[name] = starts.get(name, 0) + sum(
                not run.get("factory") and bool(run.get("started_ms")) for run in runs
            )
    roamed = {name: starts.get(name) for name in ("public-batch", "across-the-cut")}
    claims.check(
        "starts of what roamed, over all five factories",
        want={"public-batch": 1, "across-the-cut": 1},
        got=roamed,
        see="tawtin ps --all  # at each",
    )
    print(f"   {decided} workloads are recorded in the five, {sum(starts.values())} runs were started")
    for name, report in network.ask("doctor", "--deep", want=(0, 1)).items():
        states = {check["name"]: check["state"] for check in report["checks"]}
        got = f"{states.get('merkle root')}, {states.get('state from events')}"
        claims.check(
            f"{name}: Merkle root, state from events", want="ok, ok", got=got, see="tawtin doctor --deep"
        )


def _some(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count and not name.endswith("_bp")}


def _until(holds: Any, what: str, seconds: float) -> None:  # noqa: ANN401 - a question
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise DemoError(f"{what}: not within {seconds:g} s")
        time.sleep(0.3)


ACTS: Final = (stay, roam, cut, add_up)
