"""Fetches one image from an address that is not trusted.

Only http and https are allowed. Every host name is resolved here, all of its addresses must be public, and the
connection goes to the address that was checked, so a name cannot resolve to another one in between (DNS rebinding).
Proxies of the environment are not used, since they resolve names themselves. Redirects are refused, or counted and
checked like the first address. One deadline covers everything from the first connection to the last byte, retries
included: a busy host (429, 503) is retried after its ``Retry-After``, a closed connection after a short pause; three
attempts in all.
"""

from __future__ import annotations

import email.utils
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpcore

from mminstruct.readers.container import BadImage
from mminstruct.sources.addresses import public

_AGENT = b"Mozilla/5.0 (compatible; mminstruct; image fetcher that obeys X-Robots-Tag)"
_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSED = ("noai", "noimageai", "noindex")
_URL_LENGTH = 4096
_BUSY = (429, 503)
_BROKEN_OFF = (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError)
_TRIES = 3
_PAUSE = 0.25
"""Seconds before the second attempt if the host states none; twice that before the third."""
_PLAIN = (b"", b"identity", b"none")
"""Content codings that change nothing; some servers send ``none``, which is not registered."""


class _Busy(Exception):
    """The host asks to retry later."""

    def __init__(self, status: int, after: float | None) -> None:
        self.status, self.after = status, after


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Limits of a fetch."""

    private: bool = False
    """Whether addresses that are not public are allowed, for collections in an intranet."""
    redirects: int = 0
    """How many redirects are followed."""
    seconds: float = 20.0
    """Timeout of one image, all redirects and retries included."""
    size: int = 20 << 20
    """Most bytes of one response."""


def fetch(url: str, reach: Reach, trust: ssl.SSLContext) -> bytes:
    """The bytes at *url*.

    Raises:
        BadImage: with a reason that begins with ``url_``. No other exception is raised, except MemoryError.
    """
    deadline = time.monotonic() + reach.seconds
    for _ in range(reach.redirects + 1):
        answer = _tried(url, reach, trust, deadline)
        if isinstance(answer, bytes):
            return answer
        try:
            url = urljoin(url, answer)
        except ValueError as error:
            raise BadImage("url_redirect", f"to {answer[:200]!r}, which is no address: {error}") from None
    raise BadImage("url_redirect", f"to {url[:200]}; at most {reach.redirects} are followed")


def _tried(url: str, reach: Reach, trust: ssl.SSLContext, deadline: float) -> bytes | str:
    """The image's bytes, or the target of a redirect; retries a busy host and a closed connection."""
    for tries in range(1, _TRIES + 1):
        pause, failed = _PAUSE * 2 ** (tries - 1), BadImage("url_failed", "")
        try:
            return _get(url, reach, trust, deadline)
        except (BadImage, MemoryError):
            raise
        except _Busy as busy:
            pause = pause if busy.after is None else busy.after
            failed = BadImage("url_status", f"HTTP {busy.status}, {tries} times; to be asked again after {pause:g} s")
        except (httpcore.TimeoutException, TimeoutError):
            raise BadImage("url_timeout", f"not whole within {reach.seconds:g} seconds") from None
        except _BROKEN_OFF as error:
            failed = BadImage("url_failed", f"{type(error).__name__}, {tries} times: {error}"[:300])
        except Exception as error:  # TLS, HTTP and name errors of many libraries
            raise BadImage("url_failed", f"{type(error).__name__}: {error}"[:300]) from None
        if tries == _TRIES or time.monotonic() + pause >= deadline:
            raise failed
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _get(url: str, reach: Reach, trust: ssl.SSLContext, deadline: float) -> bytes | str:
    _check(url)
    with httpcore.ConnectionPool(ssl_context=trust, network_backend=_Guard(reach.private, deadline)) as pool:
        headers = {b"User-Agent": _AGENT, b"Accept": b"image/*", b"Accept-Encoding": b"identity"}
        target = httpcore.URL(_ascii(url))
        headers[b"Host"] = target.host if target.port is None else b"%s:%d" % (target.host, target.port)
        with pool.stream("GET", target, headers=list(headers.items())) as response:
            return _body(response, reach)


def _body(response: httpcore.Response, reach: Reach) -> bytes | str:
    headers = {name.lower(): value for name, value in response.headers}
    if response.status in _REDIRECTS and b"location" in headers:
        return _text(headers[b"location"])
    if response.status in _BUSY:
        raise _Busy(response.status, _after(headers.get(b"retry-after", b"")))
    if response.status != 200:
        raise BadImage("url_status", f"HTTP {response.status}")
    robots = b",".join(value for name, value in response.headers if name.lower() == b"x-robots-tag").decode("latin-1")
    if refused := next((word for word in _REFUSED if word in robots.lower()), None):
        raise BadImage("url_noai", f"X-Robots-Tag: {refused}")
    if headers.get(b"content-encoding", b"").strip().lower() not in _PLAIN:
        raise BadImage("url_failed", "answers with a content coding that was not asked for")
    stated = headers.get(b"content-length", b"0")
    if stated.isdigit() and int(stated) > reach.size:
        raise BadImage("url_too_large", f"{int(stated)} bytes; at most {reach.size}")
    pieces, size = [], 0
    for piece in response.iter_stream():
        size += len(piece)
        if size > reach.size:
            raise BadImage("url_too_large", f"more than {reach.size} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _text(value: bytes) -> str:
    """A header's value: UTF-8, as servers send addresses, where it is that; else Latin-1, in which all bytes are."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _after(value: bytes) -> float | None:
    """Seconds that ``Retry-After`` asks for (RFC 9110, section 10.2.3: a number or a date); None for anything else."""
    text = _text(value).strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _check(url: str) -> None:
    pieces = urlsplit(url)
    if pieces.scheme not in ("http", "https"):
        raise BadImage("url_scheme", f"{pieces.scheme[:20] or 'no scheme'}; only http and https are fetched")
    if not pieces.hostname or pieces.username is not None or len(url) > _URL_LENGTH:
        raise BadImage("url_failed", "no host, a user name in it, or too long")


def _ascii(url: str) -> bytes:
    """*url* with its host in IDNA, and all else that is not ASCII quoted."""
    from urllib.parse import quote

    pieces = urlsplit(url)
    host = (pieces.hostname or "").encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    port = f":{pieces.port}" if pieces.port else ""
    path = quote(pieces.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = f"?{quote(pieces.query, safe='/?%:@!$&()*+,;=~-._[]')}" if pieces.query else ""
    return f"{pieces.scheme}://{host}{port}{path}{query}".encode("ascii")


class _Guard(httpcore.NetworkBackend):
    """Connects to public addresses only; every step ends by the deadline."""

    def __init__(self, private: bool, deadline: float) -> None:
        self._private, self._deadline = private, deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            if not self._private and not public(address):
                raise BadImage("url_private", f"{host} is {address}, which is not a public address")
        error: Exception = OSError(f"{host} has no address")
        for address in addresses[:3]:
            try:
                stream = self._plain.connect_tcp(address, port, _left(self._deadline), local_address, socket_options)
                return _Timed(stream, self._deadline)
            except httpcore.ConnectError as failed:
                error = failed
        raise error

    def connect_unix_socket(self, *args: object, **options: object) -> httpcore.NetworkStream:
        raise BadImage("url_scheme", "a local socket")


class _Timed(httpcore.NetworkStream):
    """A connection whose every step ends by the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _Timed(stream, self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
