"""What commands are told of the network by their environment: where its proxy is, whom to trust."""

from __future__ import annotations

from fumehood.options import Network

# The proxy's port: proxy.PORT, which is not imported before there is a proxy.
_PROXY = "http://127.0.0.1:3128"
_DIRECT = "localhost,127.0.0.1,::1"

CA_FILE = "/dev/shm/fumehood/ca.pem"  # noqa: S108 - of a container, and of one session
"""The certificate of the session's authority: in memory, outside of the workspace, in no copy."""
BUNDLE_FILE = "/dev/shm/fumehood/ca-bundle.pem"  # noqa: S108
"""The image's roots and that certificate, for programs that take one file in place of theirs."""

PROXY_VARIABLES: dict[str, str] = {
    "http_proxy": _PROXY,
    "https_proxy": _PROXY,
    "HTTP_PROXY": _PROXY,
    "HTTPS_PROXY": _PROXY,
    "no_proxy": _DIRECT,
    "NO_PROXY": _DIRECT,
    # Node.js asks for it before it looks at the others.
    "NODE_USE_ENV_PROXY": "1",
}
"""In every command of a session that was made with ``Network.allow``."""

TRUST_VARIABLES: dict[str, str] = {
    # OpenSSL, and all that uses its defaults: Python, Ruby, PHP; Go, uv and Rust's native roots.
    "SSL_CERT_FILE": BUNDLE_FILE,
    "NIX_SSL_CERT_FILE": BUNDLE_FILE,
    "REQUESTS_CA_BUNDLE": BUNDLE_FILE,
    "PIP_CERT": BUNDLE_FILE,
    "CURL_CA_BUNDLE": BUNDLE_FILE,
    "GIT_SSL_CAINFO": BUNDLE_FILE,
    "CARGO_HTTP_CAINFO": BUNDLE_FILE,
    "AWS_CA_BUNDLE": BUNDLE_FILE,
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": BUNDLE_FILE,
    # These add to roots of their own.
    "NODE_EXTRA_CA_CERTS": CA_FILE,
    "DENO_CERT": CA_FILE,
    # For what has to be told in another way, a Java keystore say.
    "FUMEHOOD_CA_FILE": CA_FILE,
}
"""In every command of one that was made with a rule that intercepts TLS."""


def variables(network: Network) -> dict[str, str]:
    """Return what the commands of a session with this network have in their environment."""
    if network.mode != "allow":
        return {}
    return {**PROXY_VARIABLES, **(TRUST_VARIABLES if network.intercepted else {})}
