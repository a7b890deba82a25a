"""Which engine is meant: the order and the rules of the docker command line."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import pytest

from fumehood.engines import docker_host
from fumehood.engines.docker_endpoints import SshEndpoint, TcpEndpoint, TlsFiles, UnixEndpoint
from fumehood.errors import EngineUnavailableError, EngineUnsupportedError, InvalidRequestError


def context(config: Path, name: str, host: str, *, skip_verify: bool = False) -> Path:
    """Write a context as `docker context create` does; return its directory of TLS files."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(
        json.dumps(
            {
                "Name": name,
                "Metadata": {},
                "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skip_verify}},
            }
        )
    )
    return config / "contexts" / "tls" / digest / "docker"


def pem_files(directory: Path, *names: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names or ("ca", "cert", "key"):
        (directory / f"{name}.pem").write_text(name)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "docker").mkdir()
    return {"HOME": str(tmp_path / "home"), "DOCKER_CONFIG": str(tmp_path / "docker")}


def address(env: dict[str, str], host: str | None = None) -> str:
    return docker_host.resolve(host, env).address


def test_without_anything_it_is_the_default_socket(env: dict[str, str]) -> None:
    assert address(env) == "unix:///var/run/docker.sock"


def test_each_step_of_the_order_wins_over_the_next(env: dict[str, str]) -> None:
    config = Path(env["DOCKER_CONFIG"])
    context(config, "current", "unix:///of/current")
    context(config, "named", "unix:///of/named")
    (config / "config.json").write_text(json.dumps({"currentContext": "current"}))
    assert address(env) == "unix:///of/current"
    env["DOCKER_CONTEXT"] = "named"
    assert address(env) == "unix:///of/named"
    env["DOCKER_HOST"] = "unix:///of/variable"
    assert address(env) == "unix:///of/variable"
    assert address(env, "unix:///of/argument") == "unix:///of/argument"


@pytest.mark.parametrize("name", ["default", ""])
def test_the_default_context_is_the_default_socket(env: dict[str, str], name: str) -> None:
    config = Path(env["DOCKER_CONFIG"])
    context(config, "current", "unix:///of/current")
    (config / "config.json").write_text(json.dumps({"currentContext": "current"}))
    env["DOCKER_CONTEXT"] = "default"
    assert address(env) == "unix:///var/run/docker.sock"
    del env["DOCKER_CONTEXT"]
    (config / "config.json").write_text(json.dumps({"currentContext": name}))
    assert address(env) == "unix:///var/run/docker.sock"


def test_without_docker_config_the_home_directory_has_it(env: dict[str, str]) -> None:
    del env["DOCKER_CONFIG"]
    config = Path(env["HOME"]) / ".docker"
    context(config, "home", "unix:///of/home")
    (config / "config.json").write_text(json.dumps({"currentContext": "home"}))
    assert address(env) == "unix:///of/home"


def test_a_context_that_does_not_exist_is_named(env: dict[str, str]) -> None:
    env["DOCKER_CONTEXT"] = "gone"
    with pytest.raises(EngineUnavailableError, match="context 'gone' does not exist"):
        address(env)


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_configuration_that_is_no_json_object_is_named(env: dict[str, str], text: str) -> None:
    path = Path(env["DOCKER_CONFIG"]) / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(EngineUnavailableError, match=r"config\.json"):
        address(env)


def test_a_contexts_certificates_are_used(env: dict[str, str]) -> None:
    config = Path(env["DOCKER_CONFIG"])
    directory = context(config, "remote", "tcp://engine.example:2376", skip_verify=True)
    pem_files(directory)
    env["DOCKER_CONTEXT"] = "remote"
    endpoint = docker_host.resolve(None, env)
    assert isinstance(endpoint, TcpEndpoint)
    assert endpoint.tls == TlsFiles(
        ca=directory / "ca.pem",
        cert=directory / "cert.pem",
        key=directory / "key.pem",
        verify=False,
    )


def test_a_context_does_not_use_the_certificates_of_the_environment(env: dict[str, str]) -> None:
    config = Path(env["DOCKER_CONFIG"])
    context(config, "remote", "tcp://127.0.0.1:2375")
    env |= {"DOCKER_CONTEXT": "remote", "DOCKER_TLS_VERIFY": "1"}
    endpoint = docker_host.resolve(None, env)
    assert isinstance(endpoint, TcpEndpoint)
    assert endpoint.tls is None


def test_tls_variables_are_set_if_they_are_not_empty(env: dict[str, str], tmp_path: Path) -> None:
    pem_files(tmp_path / "certs")
    env |= {"DOCKER_HOST": "tcp://engine.example", "DOCKER_CERT_PATH": str(tmp_path / "certs")}
    with_verify = docker_host.resolve(None, env | {"DOCKER_TLS_VERIFY": "0"})
    without = docker_host.resolve(None, env | {"DOCKER_TLS": "yes", "DOCKER_TLS_VERIFY": ""})
    assert isinstance(with_verify, TcpEndpoint)
    assert isinstance(without, TcpEndpoint)
    assert with_verify.port == without.port == 2376
    assert with_verify.tls is not None
    assert with_verify.tls.verify
    assert with_verify.tls.key == tmp_path / "certs" / "key.pem"
    assert without.tls is not None
    assert not without.tls.verify


def test_certificates_are_in_the_configuration_directory_by_default(env: dict[str, str]) -> None:
    pem_files(Path(env["DOCKER_CONFIG"]), "ca")
    env |= {"DOCKER_TLS_VERIFY": "1"}
    endpoint = docker_host.resolve(None, env)
    assert endpoint.address == "tcp://127.0.0.1:2376 with TLS"
    assert isinstance(endpoint, TcpEndpoint)
    assert endpoint.tls == TlsFiles(ca=Path(env["DOCKER_CONFIG"]) / "ca.pem")


ADDRESSES = [
    ("unix:///run/x.sock", "unix:///run/x.sock"),
    ("tcp://127.0.0.1", "tcp://127.0.0.1:2375"),
    ("tcp://127.0.0.1:99", "tcp://127.0.0.1:99"),
    ("localhost:2375", "tcp://localhost:2375"),
    ("tcp://[::1]:2375", "tcp://[::1]:2375"),
    ("http://localhost:2375", "tcp://localhost:2375"),
    ("https://engine.example", "tcp://engine.example:2376 with TLS"),
    ("ssh://host", "ssh://host"),
    ("ssh://me@host:2222", "ssh://me@host:2222"),
    ("ssh://me@MyAlias", "ssh://me@MyAlias"),
    ("ssh://host/run/user/1000/docker.sock", "ssh://host/run/user/1000/docker.sock"),
]


@pytest.mark.parametrize("text,shown", ADDRESSES, ids=[text for text, _ in ADDRESSES])
def test_an_address_is_understood(text: str, shown: str) -> None:
    assert docker_host.parse(text).address == shown


REFUSED = [
    ("unix://relative.sock", InvalidRequestError),
    ("tcp://host:99999", InvalidRequestError),
    ("tcp://host:port", InvalidRequestError),
    ("tcp://host/path", InvalidRequestError),
    ("tcp://user@host", InvalidRequestError),
    ("tcp://ho st", InvalidRequestError),
    ("unix:///a\nb", InvalidRequestError),
    ("ssh://", InvalidRequestError),
    ("ssh://host/a;reboot", InvalidRequestError),
    ("ssh://host?x=1", InvalidRequestError),
    ("npipe:////./pipe/docker_engine", EngineUnsupportedError),
    ("fd://", EngineUnsupportedError),
]


@pytest.mark.parametrize("text,error", REFUSED, ids=[repr(text) for text, _ in REFUSED])
def test_an_address_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        docker_host.parse(text)


def test_a_password_in_an_ssh_address_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        docker_host.parse("ssh://me:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_ssh_is_called_as_the_docker_command_line_calls_it() -> None:
    endpoint = docker_host.parse("ssh://me@host:2222/run/docker.sock")
    assert isinstance(endpoint, SshEndpoint)
    assert " ".join(endpoint.command) == (
        "ssh -l me -p 2222 -o ConnectTimeout=30 -T -- host "
        "docker --host unix:///run/docker.sock system dial-stdio"
    )


def test_a_host_name_that_looks_like_an_option_stays_a_host_name() -> None:
    endpoint = docker_host.parse("ssh://-oProxyCommand=reboot")
    assert isinstance(endpoint, SshEndpoint)
    assert endpoint.command[endpoint.command.index("--") + 1].startswith("-oProxyCommand")


@pytest.mark.parametrize(
    "host,warned",
    [("tcp://10.0.0.1:2375", True), ("tcp://127.0.0.1:2375", False), ("tcp://[::1]", False)],
)
def test_plain_tcp_to_another_machine_is_warned_about(
    host: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "fumehood.engine"):
        docker_host.parse(host)
    assert ("without encryption" in caplog.text) == warned


def test_endpoints_of_one_address_are_equal() -> None:
    assert docker_host.parse("unix:///x") == UnixEndpoint("/x")
