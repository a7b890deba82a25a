"""Images of the peers: one for all, and two with a peer's server in it. No registry is asked.

Each is the tests' image with a label, which the containers of every peer inherit: that is how what
they leave behind is found. Packages are put in from outside: the engine needs no network.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from benchmarks.peers.catalog import Image
from benchmarks.peers.environments import HERE
from uv_environments import key_of, run, uv

LABEL = "fumehood-bench-peers"
BASE = "fumehood/test-python"
_PLACE = "/opt/peer"

# What the installed packages' own start scripts do; those would name this machine's Python.
_COMMANDS = {
    "swe_rex": ("swerex-remote", "swerex.server", "main"),
    "smolagents": ("kernel-gateway", "kernel_gateway", "launch_instance"),
}
_EXTRA = {
    "plain": "",
    "swe_rex": "",
    "smolagents": 'EXPOSE 8888\nCMD ["kernel-gateway", "--KernelGatewayApp.ip=0.0.0.0", '
    '"--KernelGatewayApp.port=8888"]\n',
}


def image_of(kind: Image) -> str:
    """Return the name of an image, which is built when it is not there.

    Raises:
        NotMadeError: It cannot be built.
    """
    name = f"fumehood/bench-{kind.replace('_', '-')}"
    requirements = HERE / "images" / f"{kind}.txt"
    key = key_of(Path(__file__), *([requirements] if requirements.exists() else []))
    base = run(["docker", "image", "inspect", "--format", "{{.Id}}", BASE]).strip()
    recipe = f"{key}-{base[-12:]}"
    shown = f'{{{{index .Config.Labels "{LABEL}"}}}}'
    there = run(["docker", "image", "ls", "--quiet", name]).strip()
    if there and run(["docker", "image", "inspect", "--format", shown, name]).strip() == recipe:
        return name
    with tempfile.TemporaryDirectory(prefix="fumehood-bench-") as directory:
        context = Path(directory)
        text = f"FROM {BASE}\nLABEL {LABEL}={recipe}\n"
        if requirements.exists():
            _install(requirements, context / "peer", kind)
            text += (
                f"COPY peer {_PLACE}\nENV PYTHONPATH={_PLACE} JUPYTER_PATH={_PLACE}/share/jupyter\n"
                f"ENV PATH={_PLACE}/start:/usr/local/bin:/usr/bin:/bin\n"
            )
        (context / "Dockerfile").write_text(text + _EXTRA[kind], encoding="ascii")
        run(["docker", "build", "--quiet", "--tag", name, str(context)], DOCKER_BUILDKIT="0")
    return name


def _install(requirements: Path, place: Path, kind: Image) -> None:
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    inside = ["docker", "run", "--rm", "--network", "none", BASE, "python3", "-c", ask]
    target = ["--target", str(place), "--python-version", run(inside).strip()]
    wheels = ["--only-binary", ":all:", "-r", str(requirements)]
    run([uv(), "pip", "install", "--quiet", *target, *wheels])
    command, module, function = _COMMANDS[kind]
    shutil.rmtree(place / "bin", ignore_errors=True)
    start = place / "start" / command
    start.parent.mkdir()
    start.write_text(
        f"#!/usr/bin/env python3\nfrom {module} import {function}\n{function}()\n", encoding="ascii"
    )
    start.chmod(0o755)
