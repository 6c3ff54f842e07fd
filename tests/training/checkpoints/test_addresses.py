"""training.checkpoints.addresses: downloads of a local server, their checksums, bounds and schemes."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from training.checkpoints.addresses import downloaded, is_address

CONTENT = b"PK" + bytes(range(256)) * 8
SHA256 = hashlib.sha256(CONTENT).hexdigest()
local = partial(downloaded, schemes=("http",))  # the server here knows no https


class Server(http.server.BaseHTTPRequestHandler):
    """Gives CONTENT as /model, half of it as /cut, without its length as /endless, a redirection as /moved."""

    seen: list[str] = []

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/model")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/absent" else 200)
        if self.path != "/endless":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/cut" else CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server."""
    Server.seen.clear()
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as own:
        thread = threading.Thread(target=own.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{own.server_port}"
        own.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def kept(cache: Path) -> list[str]:
    """Files of the cache other than locks."""
    return sorted(path.name for path in cache.glob("*") if path.suffix != ".lock") if cache.exists() else []


def test_a_file_is_downloaded_once(server, cache):
    path = local(f"{server}/model", SHA256)
    assert path.read_bytes() == CONTENT
    assert local(f"{server}/elsewhere", SHA256.upper()) == path
    assert Server.seen == ["/model"]
    assert kept(cache) == [f"{SHA256}.pkl"]


def test_a_damaged_file_in_the_cache_is_fetched_anew(server):
    path = local(f"{server}/model", SHA256)
    path.write_bytes(b"damaged")
    assert local(f"{server}/model", SHA256).read_bytes() == CONTENT
    assert Server.seen == ["/model", "/model"]


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("absent", {}, r"/absent cannot be downloaded \(Not Found\)"),
        ("cut", {}, "1025 of 2050 bytes came"),
        ("moved", {}, "ftp in place of http"),
        ("model", {"most_bytes": 2049}, r"it has more than 0.00195 MiB"),
        ("endless", {"most_bytes": 2049}, "it has more than"),
        ("model", {"schemes": ("https",)}, "http in place of https"),
    ],
)
def test_downloads_that_fail_leave_nothing(name, options, message, server, cache):
    with pytest.raises(UserError, match=message):
        local(f"{server}/{name}", SHA256, **options)
    assert kept(cache) == []


def test_another_file_is_refused(server, cache):
    with pytest.raises(UserError, match=f"sha256 {SHA256}, not {'0' * 64}"):
        local(f"{server}/model", "0" * 64)
    assert kept(cache) == []


def test_no_server(cache):
    with pytest.raises(UserError, match="cannot be downloaded .*refused"):
        local("http://127.0.0.1:9/model", SHA256)


def test_nothing_is_fetched_without_a_checksum(server):
    for wrong in (None, "abc", "g" * 64):
        with pytest.raises(UserError, match="sha256"):
            local(f"{server}/model", wrong)
    assert Server.seen == []


def test_only_https_is_taken_where_nobody_says_otherwise(server):
    with pytest.raises(UserError, match="http in place of https"):
        downloaded(f"{server}/model", SHA256)
    assert Server.seen == []


@pytest.mark.parametrize("text, wanted", [("https://a.b/c", True), ("file:///a", True), ("a/b.pkl", False)])
def test_addresses_are_no_paths(text, wanted):
    assert is_address(text) is wanted
