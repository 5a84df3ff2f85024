"""What a run can not see or do, tried from inside the real sandbox."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tawtin.model.workload import Mount, Output
from tests.engines.rig import Rig, rig

pytestmark = pytest.mark.sandbox


def test_a_run_can_not_read_the_factorys_keys_nor_anything_else_of_its_folder(engine: Rig) -> None:
    key = engine.folder / "owner.key"
    key.write_text("very secret key", encoding="ascii")
    look = f"ls {engine.folder} {engine.settings.root} / /root /home /var; cat /etc/shadow /etc/ssh/*"
    script = f"(cat {key}; {look}) 2>&1 || :"
    engine.finish("w-1.1", script)
    text = engine.text("w-1.1")
    assert "very secret key" not in text
    assert text.count("No such file or directory") >= 5
    assert "root:$" not in text


def test_a_run_can_not_see_another_tenants_files_or_processes(engine: Rig) -> None:
    other = "echo 'my private data' >file; mkfifo pipe; echo ready; exec -a findme sleep 300"
    engine.start("w-1.1", other, tenant=1)
    engine.says("w-1.1", "ready")
    found = engine.finish(
        "w-2.1",
        "ls -R /home /tmp; cat /proc/*/cmdline | tr '\\0' ' '; kill -9 -1; ls /proc | grep -c '^[0-9]'",
        tenant=2,
    )
    text = engine.text("w-2.1")
    assert "file" not in text.split()
    assert "findme" not in text
    assert found.exit_code is not None
    assert engine.processes("w-1.1") != []


def test_a_run_has_no_rights(engine: Rig) -> None:
    script = """
        grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
        touch /usr/x /etc/x /x /dev/x 2>&1 || :
        mount -t tmpfs none /tmp 2>&1 || :
        unshare -U true 2>&1 || :
        unshare -m true 2>&1 || :
        mknod /tmp/device b 254 0 2>&1 || :
        su -c id 2>&1 || :
        id -u
    """
    engine.finish("w-1.1", script)
    text = engine.text("w-1.1")
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t0000000000000000" in text
    assert "NoNewPrivs:\t1" in text
    assert "Seccomp:\t2" in text
    assert text.count("Read-only file system") == 4
    assert text.count("unshare failed: Operation not permitted") == 2
    uid = int(text.split()[-1])
    assert uid == (engine.settings.uid_base + 1 if os.geteuid() == 0 else os.geteuid())


def test_a_preloaded_library_of_the_tenants_never_runs_with_rights(engine: Rig) -> None:
    engine.finish(
        "w-1.1",
        "id -u; echo $LD_PRELOAD",
        envs={"LD_PRELOAD": "/home/run/work/evil.so", "BASH_ENV": "/tmp/x"},
    )
    text = engine.text("w-1.1")
    before, _, _ = text.partition("/home/run/work/evil.so")
    assert "evil.so" in text
    assert "setpriv" not in before
    assert "bwrap" not in before


def test_a_run_without_the_network_reaches_nobody_not_even_this_machine(engine: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reach = f"(echo hello >/dev/tcp/127.0.0.1/{port}) 2>&1 || echo refused"
        script = f"{reach}; tail -n +3 /proc/net/dev | cut -d: -f1 | xargs"
        engine.finish("w-1.1", script)
    text = engine.text("w-1.1")
    assert "refused" in text
    assert text.split()[-1] == "lo"


def test_a_run_that_asks_for_the_network_has_it(engine: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        port = server.getsockname()[1]
        engine.start("w-1.1", f"echo hello >/dev/tcp/127.0.0.1/{port}", network=True)
        channel, _ = server.accept()
        with channel:
            assert channel.recv(100) == b"hello\n"
    assert engine.end("w-1.1").exit_code == 0


def test_secrets_reach_the_run_and_are_in_no_file_command_line_or_log(engine: Rig) -> None:
    secret = "correct-horse-'battery\"-staple"
    seen: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for name in os.listdir("/proc"):  # noqa: PTH208 - quick
                if name.isdigit():
                    try:
                        line = Path("/proc", name, "cmdline").read_bytes()
                    except OSError:
                        continue
                    if b"horse" in line and not line.startswith(b"grep"):
                        seen.add(line.decode())
            time.sleep(0.002)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        script = 'test "${#TOKEN}" = 30 && echo "$TOKEN" | sha256sum; sleep 0.5'
        engine.start("w-1.1", script, secrets_given={"TOKEN": secret})
        engine.says("w-1.1", "-")
        running = _grep(engine.folder, "horse")
        assert engine.end("w-1.1").exit_code == 0
    finally:
        stop.set()
        looking.join()
    assert running == ""
    assert _grep(engine.folder, "horse") == ""
    assert seen == set()
    want = subprocess.run(
        ["sha256sum"], input=f"{secret}\n".encode(), capture_output=True, check=True
    ).stdout.decode()
    assert engine.text("w-1.1") == want


def _grep(folder: Path, word: str) -> str:
    return subprocess.run(
        ["grep", "-rl", word, str(folder)], capture_output=True, check=False
    ).stdout.decode()


def test_the_environment_has_the_names_that_users_of_other_systems_know(engine: Rig) -> None:
    script = 'for name in $NAMES; do echo "$name=${!name}"; done'
    names = (
        "NODE_RANK NUM_NODES NODE_IPS NUM_GPUS_PER_NODE SKYPILOT_NODE_RANK SKYPILOT_NUM_NODES SLURM_JOB_ID "
        "SLURM_ARRAY_TASK_ID SLURM_PROCID SLURM_NTASKS TAWTIN_RUN TAWTIN_EPOCH CUDA_VISIBLE_DEVICES HOME PWD EXTRA"
    )
    engine.finish(
        "w-1.2",
        script,
        envs={"NAMES": names, "EXTRA": "a 'b' $c\nd", "HOME": "/wrong"},
        array_index=2,
        array_size=4,
        array_id="a-1",
    )
    want = [
        "NODE_RANK=0", "NUM_NODES=1", "NODE_IPS=127.0.0.1", "NUM_GPUS_PER_NODE=0", "SKYPILOT_NODE_RANK=0",
        "SKYPILOT_NUM_NODES=1", "SLURM_JOB_ID=w-1", "SLURM_ARRAY_TASK_ID=2", "SLURM_PROCID=0", "SLURM_NTASKS=1",
        "TAWTIN_RUN=w-1.2", "TAWTIN_EPOCH=2", "CUDA_VISIBLE_DEVICES=", "HOME=/home/run", "PWD=/home/run/work",
        "EXTRA=a 'b' $c", "d",
    ]  # fmt: skip
    assert engine.text("w-1.2").splitlines() == want


def test_an_exposed_path_is_seen_at_its_place_and_can_not_be_changed(tmp_path: Path) -> None:
    shown = tmp_path / "hidden" / "shown"
    shown.mkdir(parents=True)
    (tmp_path / "hidden").chmod(0o700)
    shown.chmod(0o755)
    (shown / "file").write_text("in it", encoding="ascii")
    (shown / "file").chmod(0o644)
    (tmp_path / "hidden" / "beside").write_text("not shown", encoding="ascii")
    with rig(tmp_path, expose=(str(shown),)) as engine:
        engine.finish("w-1.1", f"cat {shown}/file; ls {shown.parent}; echo x >{shown}/file 2>&1 || :")
        assert engine.text("w-1.1").startswith("in itshown\n")
        assert "Read-only file system" in engine.text("w-1.1")


def test_outputs_are_never_taken_through_links_out_of_the_run(engine: Rig) -> None:
    key = engine.folder / "owner.key"
    key.write_text("very secret key", encoding="ascii")
    script = f"""
        mkdir folder; echo ok >folder/fine
        ln -s {key} direct; ln -s {engine.folder} up; ln -s {engine.folder} folder/up
        cd ..; mv work away 2>&1 || rmdir work 2>&1 || ln -sfn {engine.folder} work 2>&1 || :
    """
    names = (("direct", "direct"), ("up", "up/owner.key"), ("folder", "folder"), ("climb", "../../owner.key"))
    outputs = tuple(Output(name=name, path=path) for name, path in names)
    report = engine.finish("w-1.1", script, outputs=outputs)
    assert {output.name: engine.fetch(output.artifact) for output in report.outputs} == {
        "folder": {"fine": b"ok\n"}
    }
    for name in ("direct", "up", "climb"):
        assert f"output `{name}` was not kept" in report.message


def test_a_link_where_an_input_is_to_be_mounted_is_refused(engine: Rig) -> None:
    artifact = engine.keep({"a": b"1"})
    report = engine.finish(
        "w-1.1", "cat data/in/a", setup="rmdir data/in; rmdir data; ln -s /oldroot/tmp data; true",
        mounts=(Mount(path="/home/run/work/data/in", artifact=artifact),),
    )  # fmt: skip
    assert report.cause in {"StartFailed", "SetupFailed", "Completed"}
    if report.cause == "Completed":  # the mount point could not be replaced in the first place
        assert engine.text("w-1.1").endswith("1")
