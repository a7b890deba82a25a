"""What package managers and version control find outside: an index, a mirror, a git server."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import ssl
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from fumehood.egress.authority import Authority

PASSWORD = "Basic " + base64.b64encode(b"reader:kept outside").decode()
"""Without it, what is below ``/private/`` is not shown."""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a directory; below ``/git/`` its repositories, as ``git http-backend`` has them."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/git/"):
            self._git()
        elif self.path.startswith("/private/") and self.headers["Authorization"] != PASSWORD:
            self.send_error(401)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self._git()

    def _git(self) -> None:
        path, _, query = self.path.removeprefix("/git").partition("?")
        done = subprocess.run(
            ["git", "http-backend"],
            input=self._body(),
            stdout=subprocess.PIPE,
            check=True,
            env={
                **os.environ,
                "GIT_PROJECT_ROOT": str(Path(self.directory) / "git"),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REMOTE_USER": "t",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((value for name, value in fields if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


class Guarded(Handler):
    """The same, for nobody without the password; and what was asked for."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str | None]]] = []
    """Paths and passwords."""

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        self.seen.append((self.path, self.headers["Authorization"]))
        if self.headers["Authorization"] == PASSWORD:
            return True
        self.send_error(401)
        return False

    def do_PUT(self) -> None:
        """Say how much it was."""
        answer = f"{len(self._body())} bytes".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class Certificates:
    """A server's certificates, for every name below .test, and who has issued them."""

    def __init__(self) -> None:
        self._authority = Authority(["test"])
        self._contexts: dict[str, ssl.SSLContext] = {}
        self.ca = self._authority.pem.decode()
        """Whom a client has to trust."""

    def context(self, *names: str) -> ssl.SSLContext:
        """Return what a server answers with, by whatever name it is asked for.

        It blocks, and so does each name that was not given when it is first asked for.
        """
        context = self._of("unnamed.test")
        for name in names:
            self._of(name)

        def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if name is not None:
                anything = "*." + name.partition(".")[2]
                connection.context = self._of(anything if anything in self._contexts else name)

        context.sni_callback = choose
        return context

    def _of(self, name: str) -> ssl.SSLContext:
        if name not in self._contexts:
            self._contexts[name] = self._authority.server_context(name)
        return self._contexts[name]


class _Server(http.server.ThreadingHTTPServer):
    secure: ssl.SSLContext | None = None

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self.secure is not None:
            # Not here: whoever is slow must keep nobody waiting.
            connection = self.secure.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that breaks off, which the client's own test sees


@contextmanager
def serving(
    root: Path, kind: type[Handler] = Handler, secure: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Serve a directory on this machine's loopback, over TLS or not; give the port."""

    def handler(*args: Any) -> Handler:
        return kind(*args, directory=str(root))

    with _Server(("127.0.0.1", 0), handler) as server:
        server.secure = secure
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def make_index(place: Path, name: str, says: str) -> None:
    """Make an index of PEP 503 with one package."""
    file = f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as wheel:
        wheel.writestr(f"{name}.py", f"SAYS = {says!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    project = place / name
    project.mkdir(parents=True)
    (project / file).write_bytes(data.getvalue())
    digest = hashlib.sha256(data.getvalue()).hexdigest()
    (project / "index.html").write_text(f'<a href="{file}#sha256={digest}">{file}</a>')


def make_registry(place: Path, name: str, says: str, url: str) -> None:
    """Make a registry of npm with one package.

    Args:
        place: the registry's directory.
        name: the package's.
        says: what it exports.
        url: of the registry, as clients are to reach it.
    """
    files = {
        "package.json": json.dumps({"name": name, "version": "1.0.0"}),
        "index.js": f"module.exports = {json.dumps(says)}\n",
    }
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    tarball = f"{name}-1.0.0.tgz"
    digest = base64.b64encode(hashlib.sha512(data.getvalue()).digest()).decode()
    version = {
        "name": name,
        "version": "1.0.0",
        "dist": {"tarball": f"{url}/{tarball}", "integrity": f"sha512-{digest}"},
    }
    listing = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    place.mkdir()
    (place / name).write_text(json.dumps(listing))
    (place / tarball).write_bytes(data.getvalue())


def make_repository(place: Path, says: str) -> None:
    """Make a bare repository with one commit, that can be pushed to."""
    work = place.with_suffix(".work")
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@t.test", "-C", str(work)]
    for argv in (
        ["git", "init", "-q", "-b", "main", str(work)],
        [*run, "commit", "-q", "--allow-empty", "-m", says],
        ["git", "clone", "-q", "--bare", str(work), str(place)],
        ["git", "-C", str(place), "config", "http.receivepack", "true"],
    ):
        subprocess.run(argv, check=True)


def make_mirror(place: Path, name: str, package: bytes) -> None:
    """Make a flat mirror of Debian packages with one package."""
    place.mkdir()
    (place / f"{name}.deb").write_bytes(package)
    entry = {
        "Package": name,
        "Version": "1.0",
        "Architecture": "all",
        "Maintainer": "t",
        "Description": "t",
        "Filename": f"./{name}.deb",
        "Size": str(len(package)),
        "SHA256": hashlib.sha256(package).hexdigest(),
    }
    (place / "Packages").write_text("".join(f"{k}: {v}\n" for k, v in entry.items()))
