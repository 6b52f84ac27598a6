"""A server for one browser on this machine. It serves only the page and the files that the page shows.

It listens on the loopback interface only. Every address starts with a secret, which is part of the printed address,
because other users of this machine can reach its loopback interface. The Host header must name this machine, as a
protection against DNS rebinding. Requests can only name files from a fixed list, not paths. The page must not load
anything from other servers.
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import NamedTuple

from jointnet.view.predictions import StoredPrediction

ADDRESS = "127.0.0.1"
HOSTS = frozenset({ADDRESS, "localhost"})
"""Accepted host names. Any port is accepted, because a tunnel may use another one."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".gz": "application/octet-stream",
    ".txt": "text/plain; charset=utf-8",
}
PAGE = {"": "page.html"} | {name: name for name in ("page.js", "page.css", "niivue.umd.js", "LICENSES.txt")}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' data:; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Answer(NamedTuple):
    """The response to a request."""

    status: int
    kind: str
    body: bytes
    more: Mapping[str, str] = {}


@dataclass(frozen=True)
class Site:
    """The content that is served.

    Attributes:
        results: predictions, addressed by their index.
        secret: first part of every address.
    """

    results: Sequence[StoredPrediction]
    secret: str = field(repr=False)

    def answer(self, method: str, target: str, host: str) -> Answer:
        """Return the response to a request with this method, target as sent, and Host header."""
        if host.partition(":")[0].lower() not in HOSTS:
            return _refusal(403, "the host name must be that of this machine")
        if method not in ("GET", "HEAD"):
            return _refusal(405, "only GET and HEAD", {"Allow": "GET, HEAD"})
        _, secret, *parts = [*target.partition("?")[0].split("/"), ""][:-1] if target.startswith("/") else ["", ""]
        if not hmac.compare_digest(secret.encode(), self.secret.encode()):
            return _refusal(404, "no such page; use the complete printed address")
        if not parts:
            return Answer(301, TYPES[".txt"], b"", {"Location": f"/{self.secret}/"})
        match parts:
            case [name] if name in PAGE:
                static = resources.files("jointnet.view") / "static" / PAGE[name]
                return _success(PAGE[name], static.read_bytes())
            case ["results.json"]:
                return _success("results.json", json.dumps([result.content for result in self.results]).encode())
            case ["results", number, name] if number.isascii() and number.isdecimal():
                return self._file(int(number[:9]), name)
        return _refusal(404, "no such page")

    def _file(self, number: int, name: str) -> Answer:
        if number >= len(self.results) or name not in self.results[number].files:
            return _refusal(404, "no such file")
        folder = self.results[number].folder.resolve()
        path = (folder / name).resolve()
        if path.parent != folder:
            return _refusal(404, "no such file: a link to outside the folder")
        try:
            return _success(name, path.read_bytes())
        except OSError:
            return _refusal(404, "the file was removed")


def serve(site: Site, port: int) -> ThreadingHTTPServer:
    """Create a listening server of a site; its `serve_forever` runs it.

    Args:
        site: the content.
        port: the port; 0 selects a free one.

    Raises:
        OSError: if the port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        """Request handler that passes each request to the site."""

        server_version, sys_version, timeout = "jointnet", "", 30

        def _respond(self) -> None:
            self._send(site.answer(self.command, self.path, self.headers.get("Host", "")))

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _respond  # noqa: N815

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
            """Answer an invalid request, with the same headers as every response."""
            self._send(_refusal(code, message or explain or "no request"))

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            sent = {"Content-Type": answer.kind, "Content-Length": str(len(answer.body)), **HEADERS, **answer.more}
            for name, value in sent.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing, because file names may contain patient names."""

    server = ThreadingHTTPServer((ADDRESS, port), Handler)
    server.daemon_threads = True
    return server


def _success(name: str, body: bytes) -> Answer:
    return Answer(200, TYPES[name[name.rindex(".") :]], body)


def _refusal(status: int, why: str, more: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, TYPES[".txt"], f"{why}\n".encode(), more or {})
