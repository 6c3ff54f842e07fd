"""The HTTP server of the viewer: for whoever knows the token, on hosts that are this machine, and within bounds."""

import contextlib
import hmac
import ipaddress
import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dnnlib.errors import UserError
from dnnlib.files import PIECE_BYTES
from viewer.drawing import Superseded
from viewer.joined_page import Page
from viewer.service import Service
from viewer.worker import Busy

MAX_CONNECTIONS = 64  # at a time; further ones are sent away
READ_SECONDS = 10.0  # without a byte, after which a connection is closed
REQUEST_SECONDS = 20.0  # that line and headers of a request may take
SMALL_BODY = 2**14  # of what is asked often
LARGE_BODY = 2**22  # of camera paths, which are read one at a time
LATENTS_BODY = 2**28  # of a file of latents, which goes to the disk; with tuned weights it is as large as a snapshot
LENGTH = re.compile(r"\d{1,12}", re.ASCII)
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address has the token in it
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
TURNED_AWAY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Refused(Exception):
    """A request that gets an error and nothing else."""

    def __init__(self, status: HTTPStatus, sentence: str):
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class ViewerServer(ThreadingHTTPServer):
    """Listens for pages, each connection in a thread of its own.

    Args:
        service: does what they ask.
        token: that every request must know.
        names: by which this machine may be called, beside addresses and localhost.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Service, token: str, names: frozenset[str] = frozenset()):
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.service = service
        self.token = token
        self.names = names
        self.page = Page()
        self.one_at_a_time = threading.Lock()
        self.places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.connections: set[socket.socket] = set()
        self.reading: dict[socket.socket, float] = {}  # connections that have not sent all of a request, since when
        super().__init__(address, Handler)

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection if there is a place for it."""
        if self.places.acquire(blocking=False):
            self.connections.add(request)
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.settimeout(0)
            request.send(TURNED_AWAY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.reading.pop(request, None)
            self.connections.discard(request)
            self.places.release()

    def server_close(self) -> None:
        """Stop listening, and close all connections."""
        super().server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def service_actions(self) -> None:
        """Close connections that take too long for a request; called twice a second."""
        now = time.monotonic()
        for connection, since in list(self.reading.items()):
            if now - since > REQUEST_SECONDS:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be quiet about connections that break off."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "pv3d"
    sys_version = ""
    timeout = READ_SECONDS
    server: ViewerServer
    is_unread = False  # whether something of the request's body is

    # --- Requests -----------------------------------------------------------------------------------------------------

    def handle_one_request(self) -> None:
        self.server.reading[self.connection] = time.monotonic()
        try:
            super().handle_one_request()
        finally:
            self.server.reading.pop(self.connection, None)

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer({"/": self._page, "/api/state": self._state, "/api/export/file": self._video})

    def do_POST(self) -> None:
        """Answer a POST."""
        service = self.server.service
        self._answer(
            {
                "/api/frame": self._frame,
                "/api/path": lambda: self._large(service.path),
                "/api/cameras": lambda: self._large(lambda body: service.cameras(body, self._name())),
                "/api/latents": self._latents,
                "/api/export": lambda: self._large(service.start_export),
                "/api/export/stop": self._stop,
            }
        )

    def _answer(self, routes: dict[str, Callable[[], None]]) -> None:
        self.server.reading.pop(self.connection, None)
        self.is_unread = any(self.headers.get(name, "0") != "0" for name in ("Content-Length", "Transfer-Encoding"))
        try:
            self._require_host()
            url = urlsplit(self.path)
            self._require_token(url.query)
            route = routes.get(url.path)
            if route is None:
                raise Refused(HTTPStatus.NOT_FOUND, "There is nothing at this address.")
            route()
        except Refused as refused:
            self._refuse(refused.status, refused.sentence)
        except Superseded:
            self._send(b"", "text/plain", {}, HTTPStatus.NO_CONTENT)
        except Busy as busy:
            self._json({"error": str(busy)}, HTTPStatus.SERVICE_UNAVAILABLE)
        except UserError as error:
            self._json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except OSError:
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "The viewer made a mistake: see its terminal.")

    def _require_host(self) -> None:
        """Refuse names that are not this machine's: a page of others could have them point here (DNS rebinding)."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            raise Refused(HTTPStatus.FORBIDDEN, "This server is not called so: open the address that it printed.")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
            raise Refused(HTTPStatus.FORBIDDEN, "Other pages may not ask.")

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in ("localhost", *self.server.names):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _require_token(self, query: str) -> None:
        """Refuse those who do not know the token, by header or in the page's address."""
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            given = parse_qs(query, max_num_fields=8).get("token", [""])[0]
        if not hmac.compare_digest(given.encode(errors="replace"), self.server.token.encode()):
            raise Refused(
                HTTPStatus.FORBIDDEN, "This address lacks the token: open the whole address that the viewer printed."
            )

    def _length(self, most: int) -> int:
        """Return the length of the body. Refused if it is unknown or too large."""
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") is not None or len(lengths) != 1 or not LENGTH.fullmatch(lengths[0]):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "The request does not say how long it is.")
        length = int(lengths[0])
        if length > most:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"That is too large: up to {most / 2**20:g} MiB are read."
            )
        return length

    def _body(self, most: int) -> bytes:
        length = self._length(most)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("The connection broke off.")
        self.is_unread = False
        return body

    def _name(self) -> str:
        """Return the name of the file that is sent."""
        return unquote(self.headers.get("X-Name", "the file"), errors="replace")

    # --- Answers ------------------------------------------------------------------------------------------------------

    def _page(self) -> None:
        page = self.server.page
        self._send(page.content(), "text/html; charset=utf-8", {"Content-Security-Policy": page.policy})

    def _state(self) -> None:
        self._json(self.server.service.state())

    def _frame(self) -> None:
        picture, version = self.server.service.frame(self._body(SMALL_BODY))
        about = json.dumps({**picture.about, "version": version})
        self._send(picture.png, "image/png", {"X-Frame": about})

    def _large(self, act: Callable[[bytes], Any]) -> None:
        """Answer what follows from a large body: what JSON takes in memory is a multiple of its text."""
        body = self._body(LARGE_BODY)
        with self.server.one_at_a_time:
            content = act(body)
        self._json(content)

    def _latents(self) -> None:
        length = self._length(LATENTS_BODY)
        service = self.server.service
        if not service.uploading.acquire(blocking=False):
            raise Busy("Another file is being sent: try again.")
        try:
            with tempfile.NamedTemporaryFile(dir=service.folder.name, suffix=".pt") as file:
                while length:
                    piece = self.rfile.read(min(length, PIECE_BYTES))
                    if not piece:
                        raise ConnectionError("The connection broke off.")
                    file.write(piece)
                    length -= len(piece)
                self.is_unread = False
                file.flush()
                self._json(service.latents(Path(file.name), self._name()))
        finally:
            service.uploading.release()

    def _stop(self) -> None:
        self._body(0)
        self._json(self.server.service.stop_export())

    def _video(self) -> None:
        video = self.server.service.exported()
        with video.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._head(size, "application/octet-stream", HTTPStatus.OK, {"X-Export": str(video.number)})
            shutil.copyfileobj(file, self.wfile, PIECE_BYTES)

    def _json(self, content: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode(), "application/json", {}, status)

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer with a sentence, and close the connection, of which nobody knows what else it holds."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self._send(f"{sentence}\n".encode(), "text/plain; charset=utf-8", {"Connection": "close"}, status)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no HTTP, without repeating anything of it."""
        self.server.reading.pop(self.connection, None)
        self.request_version = self.protocol_version  # or there would be no status, for what looks like HTTP/0.9
        self._refuse(HTTPStatus(code), "This is no request of the viewer's page.")

    def _send(self, content: bytes, kind: str, headers: dict[str, str], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._head(len(content), kind, status, headers)
        self.wfile.write(content)

    def _head(self, length: int, kind: str, status: HTTPStatus, headers: dict[str, str]) -> None:
        if self.is_unread:  # what is left of the body would be taken for the next request
            self.close_connection = True
            headers = {**headers, "Connection": "close"}
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: addresses have the token in them."""
