"""`python -m tools.pictures`: the pictures of the documentation, taken of the demonstration's five factories at work.

Needs Debian's chromium and the built scripts (`sh tools/bootstrap.sh console`). Writes docs/_static/console/*.png.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, expect

from demo.network import Network
from tests.console.browser import NARROW, WIDE, Watched, chromium, picture

FOLDER: Final = Path(__file__).parents[1] / "docs" / "_static" / "console"
SPECS: Final = {
    "darija-asr": 'resources: {cpus: 1, memory: 512MB, accelerators: "H100:2"}\nmax_duration: 2h\n'
    "data: {class: personal, origin: MA}\n"
    'run: |\n  for i in $(seq 1 2000); do echo "step $i loss 0.$((RANDOM % 900 + 100))"; sleep 0.5; done\n',
    "atlas-weather": 'resources: {cpus: 1, memory: 512MB, accelerators: "H100:4"}\nmax_duration: 2h\n'
    "data: {class: public}\nrun: sleep 1200\n",
    "sahel-crops": 'resources: {cpus: 1, memory: 512MB, accelerators: "H100:4"}\nmax_duration: 2h\n'
    "data: {class: public}\nrun: sleep 1200\n",
    "census": 'resources: {cpus: 1, accelerators: "H100:64"}\ndata: {class: personal, origin: MA}\nrun: "true"\n',
    "tifinagh-ocr": "resources: {cpus: 1, memory: 256MB}\nmax_duration: 10m\nrun: sleep 5\n",
}


def main() -> None:
    """Start the five, give them work, cut a cable, and look."""
    with tempfile.TemporaryDirectory(prefix="tawtin-pictures-") as folder:
        Path(folder).chmod(0o711)
        network = Network(Path(folder) / "five")
        network.folder.mkdir()
        network.folder.chmod(0o711)
        try:
            network.start()
            works = [_submit(network, name, spec) for name, spec in SPECS.items()]
            time.sleep(45)  # others take on what does not fit here, and something ends
            with chromium() as browser:
                network.cables.cut("Cairo")
                for language in ("en", "fr", "ar"):
                    _look(browser, network, language, works[0])
                _others(browser, network)
        finally:
            network.end()


def _submit(network: Network, name: str, spec: str) -> str:
    file = network.folder / f"{name}.yaml"
    file.write_text(f"name: {name}\n{spec}")
    answer = network.home.ask("run", str(file), "--detach", "--yes")
    return str(answer["submitted"]["workloads"][0]["id"])


def _signed_in(browser: Browser, network: Network, language: str, **how: object) -> Page:
    who = Watched(browser, network.home.address()["url"], language=language, **how)  # pyright: ignore[reportArgumentType]
    page = who.page("/console/")
    page.locator("#key").fill((network.home.folder / "data" / "owner.key").read_text().strip())
    page.locator("#key").press("Enter")
    expect(page.locator("nav")).to_be_visible()
    return page


def _look(browser: Browser, network: Network, language: str, work: str) -> None:
    page = _signed_in(browser, network, language, size=WIDE)
    expect(page.locator(".cutl")).to_be_visible(timeout=60_000)
    picture(page, f"network.{language}", FOLDER)
    page.goto(f"/console/workloads/{work}")
    expect(page.locator("#log")).to_contain_text("step")
    picture(page, f"workload.{language}", FOLDER, whole=True)


def _others(browser: Browser, network: Network) -> None:
    page = _signed_in(browser, network, "en", theme="dark", size=WIDE)
    expect(page.locator(".cutl")).to_be_visible(timeout=60_000)
    picture(page, "network.en.dark", FOLDER)
    page = _signed_in(browser, network, "ar", size=NARROW)
    picture(page, "network.ar.narrow", FOLDER)
    page = _signed_in(browser, network, "fr", size=WIDE)
    page.goto("/console/workloads")
    picture(page, "workloads.fr", FOLDER)
    page.goto("/console/new")
    expect(page.locator(".cm-content")).to_be_visible()
    picture(page, "new.fr", FOLDER)
    for name in ("models", "usage", "operator", "rules"):
        page.goto(f"/console/{name}")
        picture(page, f"{name}.fr", FOLDER)


if __name__ == "__main__":
    main()
