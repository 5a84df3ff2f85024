r"""Writes `deploy/cloud-init/factory.yaml`: one file that makes a bare Debian or Ubuntu machine a factory.

    python -m tools.blueprint                     # the committed file again
    python -m tools.blueprint --name Nairobi --country KE --host nairobi.example \
        --wheel https://nairobi.example/tawtin-0.1.0-py3-none-any.whl --invitation tawtin-invitation-... > nairobi.yaml

What it embeds has one source each: settings are what `tawtin init` writes, and the rest lies in `deploy/systemd`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
import tempfile
from pathlib import Path

from tawtin import __version__
from tawtin.cli import main as cli

ROOT = Path(__file__).resolve().parents[1]
SYSTEMD = ROOT / "deploy" / "systemd"
COMMITTED = ROOT / "deploy" / "cloud-init" / "factory.yaml"
TEMPLATE = """\
#cloud-config
# From a bare machine (Debian 13, Ubuntu 24.04, or newer) to a running factory. docs/how-to/deploy.md has the steps.
# Made by `python -m tools.blueprint`, which also fills in what is to be changed: what is marked CHANGE.
package_update: true
packages: [python3-venv, bubblewrap, caddy, ca-certificates]

# The driver of the GPUs, on Ubuntu. Debian has it in non-free: apt-get install nvidia-driver.
# drivers:
#   nvidia: {{license-accepted: true}}

users:
  - default
  - {{name: tawtin, system: true, homedir: /var/lib/tawtin, shell: /usr/sbin/nologin}}

write_files:
  # CHANGE: who this factory is, and where it stands
  - path: /var/lib/tawtin/factory.toml
    owner: "tawtin:tawtin"
    permissions: "0600"
    defer: true
    content: |
{factory}
  - path: /var/lib/tawtin/client.toml
    owner: "tawtin:tawtin"
    permissions: "0600"
    defer: true
    content: |
{client}
  # TLS for everybody, peers included: the name has to lead here, and ports 80 and 443 have to be open.
  - path: /etc/caddy/Caddyfile
    defer: true
    content: |
      # CHANGE: the factory's name on the network
      {host} {{
          reverse_proxy 127.0.0.1:8470
      }}
  - path: /etc/tawtin/invitation.env
    permissions: "0600"
    content: |
      # What the operator of a first factory sent you (tawtin peer invite); nothing where this is the first one.
      INVITATION={invitation}
      # CHANGE: where peers find this factory
      ADDRESS=https://{host}
  - path: /etc/systemd/system/tawtin.service
    content: |
{unit}
  - path: /etc/sysctl.d/60-tawtin.conf
    content: |
{sysctl}
  - path: /usr/local/bin/tawtin
    permissions: "0755"
    content: |
{command}

runcmd:
  - [systemctl, restart, systemd-sysctl]
  - [python3, -m, venv, /opt/tawtin]
  # CHANGE: where the wheel is (uv build --wheel makes it)
  - [/opt/tawtin/bin/pip, install, --no-cache-dir, "tawtin[gpu] @ {wheel}"]
  - [chown, "tawtin:tawtin", /var/lib/tawtin]
  - [chmod, "0700", /var/lib/tawtin]
  - [systemctl, daemon-reload]
  - [systemctl, reload-or-restart, caddy]
  - [systemctl, enable, --now, tawtin]
  # It answers now. With an invitation: take it up. The rest needs two people: docs/how-to/deploy.md, step 4.
  - - sh
    - -c
    - . /etc/tawtin/invitation.env; [ -z "$INVITATION" ] || tawtin peer join "$INVITATION" --address "$ADDRESS"
  - [rm, -f, /etc/tawtin/invitation.env]
"""


def _settings(arguments: argparse.Namespace) -> tuple[str, str]:
    """`factory.toml` and `client.toml`, as `tawtin init` writes them."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        words = ["--name", arguments.name, "--country", arguments.country, "--operator", arguments.operator]
        if code := cli.main(["init", folder, *words]):
            raise SystemExit(code)
        return Path(folder, "factory.toml").read_text(), Path(folder, "client.toml").read_text()


def _embedded(text: str) -> str:
    return "\n".join(f"      {line}".rstrip() for line in text.splitlines())


def cloud_init(arguments: argparse.Namespace) -> str:
    """The whole file."""
    factory, client = _settings(arguments)
    return TEMPLATE.format(
        host=arguments.host,
        wheel=arguments.wheel or f"https://{arguments.host}/tawtin-{__version__}-py3-none-any.whl",
        invitation=arguments.invitation,
        factory=_embedded(factory),
        client=_embedded(client),
        unit=_embedded((SYSTEMD / "tawtin.service").read_text()),
        sysctl=_embedded((SYSTEMD / "60-tawtin.conf").read_text()),
        command=_embedded((SYSTEMD / "tawtin").read_text()),
    )


def parsed(words: list[str]) -> argparse.Namespace:
    """The command line. Where nothing is said, the file is the committed one."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.blueprint", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--name", default="Casablanca", help="of the factory")
    parser.add_argument("--country", default="MA", metavar="CC", help="two letters of ISO 3166-1")
    parser.add_argument("--operator", default="Example Telecom", help="the legal entity that runs it")
    parser.add_argument("--host", default="casablanca.example", help="its name on the network")
    parser.add_argument("--wheel", default="", metavar="URL", help="where the machine finds the wheel")
    parser.add_argument("--invitation", default="", metavar="CODE", help="of a first factory's operator")
    arguments = parser.parse_args(words)
    for name in ("host", "wheel", "invitation"):
        if not re.fullmatch(r"[A-Za-z0-9.:/_~%+=-]*", text := getattr(arguments, name)):
            parser.error(f"--{name}: `{text}` cannot stand in the file")
    return arguments


def main() -> None:
    """Write the committed file, or print one that was asked for."""
    text = cloud_init(parsed(sys.argv[1:]))
    if sys.argv[1:]:
        print(text, end="")
    else:
        COMMITTED.write_text(text)
        print(f"written: {COMMITTED.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
