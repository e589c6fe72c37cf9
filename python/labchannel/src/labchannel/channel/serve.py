"""Serve a channel folder over HTTP/1.1, for clients on this machine or in the lab.

Python's own file server is not enough for a channel: it sends no validators with 304, so clients
keep their first repodata for ever, it knows no ranges, and it lets clients cache repodata. Sources:
RFC 9110 (conditional requests, ranges) and RFC 9111 (caching).

Each answer is made from one open file, so a publication that exchanges the channel meanwhile does
not touch it: a client gets the old file or the new one, whole, with the validators of that file.
"""

from __future__ import annotations

import contextlib
import email.utils
import html
import http
import http.server
import ipaddress
import logging
import os
import re
import socket
import stat
import sys
import threading
import urllib.parse
from typing import TYPE_CHECKING, BinaryIO

from labchannel.channel import layout
from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_log = logging.getLogger(__name__)

_FOREVER = "public, max-age=31536000, immutable"
_ASK_ALWAYS = "no-cache"
_TYPES = {
    ".json": "application/json",
    ".zst": "application/zstd",
    ".bz2": "application/x-bzip2",
    ".html": "text/html; charset=utf-8",
    ".conda": "application/octet-stream",
}
_RANGE = re.compile(r"bytes=\s*(?:(\d+)-(\d*)|-(\d+))\s*")
_IDLE_SECONDS = 60


class ChannelServer(http.server.ThreadingHTTPServer):
    """An HTTP server of one channel; `url` is where it answers.

    Use `serve` or `serving`, which also close it.
    """

    daemon_threads = True
    # A lab's workstations may all begin at once.
    request_queue_size = 128
    # On Windows the option would let two servers share the port.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, channel: Path, host: str, port: int) -> None:
        self.channel = channel.resolve()
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """The channel's address, for the client's `--channel`."""
        host, port = str(self.server_address[0]), int(self.server_address[1])
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def server_bind(self) -> None:
        """Bind without the reverse look-up of the host's name, which can take seconds."""
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that went away; log everything else."""
        if not isinstance(sys.exc_info()[1], OSError):
            _log.exception("a request from %s failed", client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "labchannel"
    sys_version = ""
    timeout = _IDLE_SECONDS
    server: ChannelServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        self.path = _origin_form(self.path)
        parts = _path_parts(self.path)
        if parts is None:
            self._refuse(http.HTTPStatus.NOT_FOUND)
            return
        path = self.server.channel.joinpath(*parts)
        try:
            if not path.resolve().is_relative_to(self.server.channel):
                raise FileNotFoundError(path)
            file = None if path.is_dir() else path.open("rb")
        except PermissionError:
            self._refuse(http.HTTPStatus.FORBIDDEN)
        # Not there, or a name that no file can have, or a loop of links.
        except (OSError, RuntimeError):
            self._refuse(http.HTTPStatus.NOT_FOUND)
        else:
            if file is None:
                self._list(path, parts, with_body=with_body)
            else:
                with file:
                    self._send(file, parts, with_body=with_body)

    def _send(self, file: BinaryIO, parts: list[str], *, with_body: bool) -> None:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            self._refuse(http.HTTPStatus.NOT_FOUND)
            return
        etag = f'"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"'
        modified = int(status.st_mtime)
        if self._is_known(etag, modified):
            self.send_response(http.HTTPStatus.NOT_MODIFIED)
            self._send_validators(etag, modified, parts)
            self.end_headers()
            return
        size = status.st_size
        span = self._range(etag, modified, size)
        if span is None:
            self.send_response(http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, end = span
        if (start, end) == (0, size):
            self.send_response(http.HTTPStatus.OK)
        else:
            self.send_response(http.HTTPStatus.PARTIAL_CONTENT)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self._send_validators(etag, modified, parts)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", _content_type(parts[-1]))
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if with_body and end > start:
            self.wfile.flush()
            self.connection.sendfile(file, start, end - start)

    def _send_validators(self, etag: str, modified: int, parts: list[str]) -> None:
        self.send_header("ETag", etag)
        self.send_header("Last-Modified", email.utils.formatdate(modified, usegmt=True))
        self.send_header("Cache-Control", _cache_control(parts))

    def _is_known(self, etag: str, modified: int) -> bool:
        if (tags := self.headers.get("If-None-Match")) is not None:
            known = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
            return etag in known or "*" in known
        since = _date(self.headers.get("If-Modified-Since"))
        return since is not None and modified <= since

    def _range(self, etag: str, modified: int, size: int) -> tuple[int, int] | None:
        """Find which bytes to send, from and up to; None when there are none such."""
        whole = (0, size)
        # Several ranges at once, or another unit, may be answered with the whole file.
        # And only a GET has ranges.
        asked = self.headers.get("Range", "") if self.command == "GET" else ""
        match = _RANGE.fullmatch(asked)
        condition = self.headers.get("If-Range")
        if match is None or (
            condition is not None and condition != etag and _date(condition) != modified
        ):
            return whole
        first, last, suffix = match.groups()
        if suffix is not None:
            length = min(int(suffix), size)
            return (size - length, size) if length else None
        start, end = int(first), min(int(last) + 1 if last else size, size)
        if last and int(last) < int(first):
            return whole
        return (start, end) if start < size else None

    def _list(self, folder: Path, parts: list[str], *, with_body: bool) -> None:
        if not self.path.partition("?")[0].endswith("/"):
            self.send_response(http.HTTPStatus.MOVED_PERMANENTLY)
            self.send_header("Location", f"/{'/'.join(map(urllib.parse.quote, parts))}/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        names = sorted(
            f"{entry.name}/" if entry.is_dir() else entry.name
            for entry in os.scandir(folder)
            if not entry.name.startswith(".")
        )
        links = "".join(
            f'<li><a href="{urllib.parse.quote(name)}">{html.escape(name)}</a></li>\n'
            for name in names
        )
        title = html.escape("/".join(["channel", *parts]))
        page = f"<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n{links}</ul>\n"
        body = page.encode("utf-8", "surrogateescape")
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Type", _TYPES[".html"])
        self.send_header("Cache-Control", _ASK_ALWAYS)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _refuse(self, status: http.HTTPStatus) -> None:
        body = f"{status.phrase}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        # A package that is not there yet may be there after the next publication.
        self.send_header("Cache-Control", _ASK_ALWAYS)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base
        _log.info("%s %s", self.address_string(), format % args)


def _origin_form(target: str) -> str:
    """Give the path of a request's target, which may be a whole address, as to a proxy."""
    path = re.sub(r"(?i)^https?://[^/?#]*", "", target)
    return f"/{path.lstrip('/')}"


def _path_parts(target: str) -> list[str] | None:
    """Split a request's path into names in the channel; None for what can be no such name.

    Hidden names are none either: they hold what a publication is about to put in place.
    """
    path = urllib.parse.unquote(
        target.partition("?")[0].partition("#")[0], errors="surrogateescape"
    )
    parts = [part for part in path.split("/") if part]
    if any(part.startswith(".") or re.search(r"[\\:\0]", part) for part in parts):
        return None
    return parts


def _content_type(name: str) -> str:
    return next(
        (kind for suffix, kind in _TYPES.items() if name.endswith(suffix)),
        "application/octet-stream",
    )


def _cache_control(parts: list[str]) -> str:
    # A package's name never stands for other bytes, and a shard is named by its hash.
    if layout.is_package(parts[-1]) or layout.SHARDS in parts[:-1]:
        return _FOREVER
    return _ASK_ALWAYS


def _date(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(email.utils.parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def _open(channel: Path, host: str, port: int) -> ChannelServer:
    layout.channel_subdirs(channel)
    if not 0 <= port <= 65535:
        raise LabchannelError(f"there is no port {port}", "Name one from 1 to 65535, or 0 for any")
    try:
        return ChannelServer(channel, host, port)
    except OSError as error:
        raise LabchannelError(
            f"can't listen on {host}, port {port} ({error.strerror or error})",
            "Name another port, or 0 for any free one, and an address of this machine",
        ) from error
    except UnicodeError as error:
        raise LabchannelError(
            f"{host} is no host name", "Name an address of this machine"
        ) from error


def serve(
    channel: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    on_step: Callable[[str], None] | None = None,
) -> None:
    """Serve a channel until Ctrl-C, or another KeyboardInterrupt.

    Parameters
    ----------
    channel
        The channel's top folder.
    host
        The address to listen on. By default only this machine can reach it; `0.0.0.0` lets the
        whole network in, to read.
    port
        The port, or 0 for any free one.
    on_step
        Called with the line that says where it serves, and with one at the end; by default they
        go to the standard output.

    Raises
    ------
    LabchannelError
        The folder is no channel, or the address or port can't be used.
    """
    say = on_step or _print
    with _open(channel, host, port) as server:
        reach = "" if _is_loopback(host) else ", to the whole network"
        # That it was stopped is no failure: it is how serving ends.
        with contextlib.suppress(KeyboardInterrupt):
            say(f"serving {server.channel} at {server.url}{reach} (Ctrl-C ends it)")
            server.serve_forever(poll_interval=0.2)
    say("no longer serving")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _print(message: str) -> None:
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def serving(channel: Path, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve a channel while the block runs; yields its URL.

    Parameters
    ----------
    channel, host, port
        As for `serve`.

    Raises
    ------
    LabchannelError
        As `serve`.
    """
    with _open(channel, host, port) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()
