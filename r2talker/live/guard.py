"""Who may connect, and how much they may send."""

import hmac
import ipaddress
from urllib.parse import urlsplit

from r2talker.errors import R2TalkerError
from r2talker.live.config import ServeConfig

SHORTEST_TOKEN = 16
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_config(config: ServeConfig) -> None:
    """R2TalkerError for settings that would be unsafe or make no sense."""
    if config.token and (len(config.token) < SHORTEST_TOKEN or not config.token.isascii() or not config.token.isprintable()):
        raise R2TalkerError(f"the token must have at least {SHORTEST_TOKEN} printable ASCII characters; choose a longer one")
    if not is_loopback(config.host) and not config.token:
        raise R2TalkerError(
            f"--host {config.host} lets other machines in, which needs a secret; give --token or set R2TALKER_TOKEN"
        )
    if config.origin and urlsplit(config.origin).scheme not in ("http", "https"):
        raise R2TalkerError(f"--origin must be a web address such as https://example.org, got {config.origin}")
    bounds = {"port": (config.port, 0, 65535), "sessions": (config.sessions, 1, 1000), "wait": (config.wait, 0, 2)}
    if config.performers is not None:
        bounds["performers"] = (config.performers, 0, 64)
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise R2TalkerError(f"--{name} must lie between {least} and {most}, got {value}")
    for name, amount in (("session-minutes", config.session_minutes), ("body-megabytes", config.body_megabytes)):
        if not amount > 0:
            raise R2TalkerError(f"--{name} must be more than 0, got {amount:g}")


class Guard:
    """Judges requests by their headers."""

    def __init__(self, config: ServeConfig) -> None:
        self._token = config.token
        self._origin = config.origin.rstrip("/").lower()
        self._loopback = is_loopback(config.host)

    def refusal(self, *, host: str, origin: str | None, authorization: str | None, token: str | None) -> str | None:
        """Why a request is refused, or None. host, origin, authorization: headers; token: of the address."""
        if not self._token and not self._host_is_local(host):
            # Without this, a page elsewhere whose name is made to point here could talk to the server.
            return "this server answers only to localhost; start it with a token to use another name"
        if origin is not None and not self._origin_is_own(origin, host):
            return "pages of other origins may not use this server; see --origin"
        if self._token:
            shown = authorization.removeprefix("Bearer ") if authorization else token or ""
            if not hmac.compare_digest(shown.encode(), self._token.encode()):
                return "the token is missing or wrong"
        return None

    def welcomes(self, origin: str | None) -> bool:
        """Whether pages of another origin may read answers: the one that `--origin` names."""
        return bool(self._origin) and origin is not None and origin.lower() == self._origin

    def _host_is_local(self, host: str) -> bool:
        return self._loopback and (urlsplit(f"//{host}").hostname or "") in LOCAL_NAMES

    def _origin_is_own(self, origin: str, host: str) -> bool:
        origin = origin.lower()
        return urlsplit(origin).netloc == host.lower() or self.welcomes(origin)


class Allowance:
    """A bucket of tokens that fills at `rate` a second up to `most`."""

    def __init__(self, rate: float, most: float, now: float) -> None:
        self.rate, self.most = rate, most
        self._left, self._last = most, now

    def take(self, amount: float, now: float) -> bool:
        """Whether so much may pass now."""
        self._left = min(self.most, self._left + (now - self._last) * self.rate)
        self._last = now
        if amount > self._left:
            return False
        self._left -= amount
        return True
