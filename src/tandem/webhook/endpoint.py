"""Where webhooks go: URLs that are fit for it, named so that no name gives a secret away."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2s
from ipaddress import ip_address

from yarl import URL

from tandem.errors import Misconfigured
from tandem.settings import WebhookSettings
from tandem.webhook.address import is_public
from tandem.webhook.signature import key_of


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``name`` is the host and a digest of the whole URL, for logs, metrics and the queue."""

    name: str
    url: URL = field(repr=False)
    key: bytes = field(repr=False)


def endpoints_of(settings: WebhookSettings) -> list[Endpoint]:
    """Raises Misconfigured, naming the host at most."""
    if settings.urls is None:
        return []
    if settings.secret is None:
        raise Misconfigured("webhooks are signed: set TANDEM_WEBHOOK__SECRET, which your receiver verifies with")
    key = key_of(settings.secret.get_secret_value())
    written = [part.strip() for part in settings.urls.get_secret_value().split(",")]
    found = [_endpoint(part, key, allow_private=settings.allow_private) for part in written if part]
    return list({endpoint.name: endpoint for endpoint in found}.values())


def _endpoint(written: str, key: bytes, *, allow_private: bool) -> Endpoint:
    try:
        url = URL(written)
        host, port = url.host or "", url.explicit_port
    except ValueError:
        raise Misconfigured("TANDEM_WEBHOOK__URLS holds what is no URL: write https://host/path") from None
    if not host or url.scheme not in {"http", "https"}:
        raise Misconfigured("TANDEM_WEBHOOK__URLS holds what is no web address: write https://host/path")
    if not allow_private:
        _refuse_private(url.scheme, host)
    digest = blake2s(str(url).encode(), digest_size=4).hexdigest()
    return Endpoint(f"{host}:{port}-{digest}" if port else f"{host}-{digest}", url, key)


def _refuse_private(scheme: str, host: str) -> None:
    if scheme != "https":
        raise Misconfigured(f"the webhook to {host} is not https: its messages could be read on the way")
    try:
        public = is_public(ip_address(host))
    except ValueError:
        return  # a name: its addresses are looked at whenever it is dialled
    if not public:
        raise Misconfigured(f"the webhook to {host} is no public address; TANDEM_WEBHOOK__ALLOW_PRIVATE=true allows it")
