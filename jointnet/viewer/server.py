"""A server for one browser on this machine: the page, and the files that it shows. Nothing else is reachable.

It listens on the loopback interface only. Beyond that: every address begins with a secret that only the printed one
holds, since other users of this machine reach its loopback, too; the Host header must name this machine, since a
foreign page's own name may be made to lead here (DNS rebinding); what can be asked for is a fixed list of names, not
paths; and the page may load nothing from elsewhere.
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import NamedTuple

from jointnet.viewer.shown import ShownResult

ADDRESS = "127.0.0.1"
HOSTS = frozenset({ADDRESS, "localhost"})
"""Names by which the server may be asked, on any port: a tunnel may end on another."""
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
    """What a request is answered with."""

    status: int
    kind: str
    body: bytes
    more: Mapping[str, str] = {}


@dataclass(frozen=True)
class Site:
    """What is served.

    Attributes:
        results: predictions, addressed by their place in this list.
        secret: first part of every address.
    """

    results: Sequence[ShownResult]
    secret: str = field(repr=False)

    def answer(self, method: str, target: str, host: str) -> Answer:
        """Answer a request by its method, its target as sent, and its Host header."""
        if host.partition(":")[0].lower() not in HOSTS:
            return _refusal(403, "asked by a name that is not this machine's")
        if method not in ("GET", "HEAD"):
            return _refusal(405, "only GET and HEAD", {"Allow": "GET, HEAD"})
        _, secret, *parts = [*target.partition("?")[0].split("/"), ""][:-1] if target.startswith("/") else ["", ""]
        if not hmac.compare_digest(secret.encode(), self.secret.encode()):
            return _refusal(404, "no such page; take the whole address that was printed")
        if not parts:
            return Answer(301, TYPES[".txt"], b"", {"Location": f"/{self.secret}/"})
        match parts:
            case [name] if name in PAGE:
                static = resources.files("jointnet.viewer") / "static" / PAGE[name]
                return _found(PAGE[name], static.read_bytes())
            case ["results.json"]:
                return _found("results.json", json.dumps([result.content for result in self.results]).encode())
            case ["results", number, name] if number.isascii() and number.isdecimal():
                return self._file(int(number[:9]), name)
        return _refusal(404, "no such page")

    def _file(self, number: int, name: str) -> Answer:
        if number >= len(self.results) or name not in self.results[number].files:
            return _refusal(404, "no such file")
        folder = self.results[number].folder.resolve()
        path = (folder / name).resolve()
        if path.parent != folder:
            return _refusal(404, "no such file: a link that leads out of the folder")
        try:
            return _found(name, path.read_bytes())
        except OSError:
            return _refusal(404, "the file is gone")


def serve(site: Site, port: int) -> ThreadingHTTPServer:
    """Give a server of a site, listening; `serve_forever` runs it.

    Args:
        site: what is served.
        port: 0 takes a free one.

    Raises:
        OSError: where the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        """Hands each request to the site."""

        server_version, sys_version, timeout = "jointnet", "", 30

        def _respond(self) -> None:
            self._send(site.answer(self.command, self.path, self.headers.get("Host", "")))

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _respond  # noqa: N815

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
            """Answer what is no request with the headers of every answer."""
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
            """Say nothing: names of files may name patients."""

    server = ThreadingHTTPServer((ADDRESS, port), Handler)
    server.daemon_threads = True
    return server


def _found(name: str, body: bytes) -> Answer:
    return Answer(200, TYPES[name[name.rindex(".") :]], body)


def _refusal(status: int, why: str, more: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, TYPES[".txt"], f"{why}\n".encode(), more or {})
