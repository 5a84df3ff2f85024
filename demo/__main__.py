"""`python -m demo`: tells the story, prints a table of claims, and writes it to demo-summary.json.

On a terminal the factory is left up. Without one, everything that was started is ended. The exit code is 0 only if
every claim holds.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from demo.asking import ask_a_model
from demo.claims import Claims, interactive, say
from demo.engines import engines
from demo.factory import DemoError
from demo.network import ACTS, Network, meet
from demo.story import STEPS

SUMMARY = Path("demo-summary.json")
SECONDS_MAX = 150
LOAD_MAX = 2
"""Runnable processes for each processor, above which time says nothing about this program."""


def main() -> int:
    os.chdir(Path(__file__).parents[1])
    began = time.monotonic()
    network = Network(Path(tempfile.mkdtemp(prefix="tawtin-demo-")))
    network.folder.chmod(0o711)  # where there is no sandbox, runs have to pass through it
    claims = Claims()
    if shutil.which("bwrap") is None:
        print(
            "bubblewrap is missing: nothing keeps runs apart here, so the factory takes its owner's work alone"
        )
        print("mend: apt-get install bubblewrap")
    try:
        meet(network, claims)
        for step in STEPS:
            step(network.home, claims)
        ask_a_model(network.home, claims)
        for act in ACTS:
            act(network, claims)
        _took(claims, began)
        engines(network, claims)
    except DemoError as error:
        claims.check("the story was told to its end", want="yes", got=str(error)[:200], see="python -m demo")
    except KeyboardInterrupt:
        claims.check("the story was told to its end", want="yes", got="interrupted", see="python -m demo")
    stays = interactive() and not claims.failed
    address = network.home.address()["url"] if stays else ""
    if not stays:
        left = network.end()
        claims.check("processes left behind", want=0, got=len(left), see="ps -ef")
        if claims.failed:
            print(f"the folder of the factories is kept: {network.folder}")
        else:
            network.remove()
    say("what was claimed")
    print(claims.table())
    claims.write(SUMMARY)
    print(f"\n{len(claims.made) - claims.failed} of {len(claims.made)} claims hold; also in {SUMMARY}")
    if stays:
        print(
            f"the five are still up; look at them in a browser:\n"
            f"  {address}/console/    the key to sign in is in {network.home.folder}/data/owner.key\n"
            f"  export TAWTIN_HOME={network.home.folder}; tawtin ps --all\n"
            "the cables between them end when this does; press Enter for that"
        )
        sys.stdin.readline()
        network.end()
        network.remove()
    return 1 if claims.failed else 0


def _took(claims: Claims, began: float) -> None:
    """What the story of the five took; attaching clusters comes after it, and takes what their start takes."""
    took = time.monotonic() - began
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    claims.check(
        "the whole story of the five took",
        want=f"below {SECONDS_MAX} s, unless others keep every processor busy",
        got=f"{took:.1f} s at a load of {load:.1f} on {cores} processors",
        ok=took < SECONDS_MAX or load > LOAD_MAX * cores,
        see="python -m demo",
    )


if __name__ == "__main__":
    sys.exit(main())
