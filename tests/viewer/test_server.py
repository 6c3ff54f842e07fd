"""The server: who is refused, what is too much, and that it answers whatever came before."""

import contextlib
import json
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import pv3d
from tests.helpers.browser import waited
from tests.helpers.viewing import FRONT, SCENE_JSON, TOKEN, VIDEO_JSON, WISH_JSON, latents_file
from viewer import server as viewer_server
from viewer.messages import MAX_FRAMES, MAX_KEYS, BadRequest, frame_wish, video_wish

MEGABYTE = 2**20
ROUTES = [("GET", "/"), ("GET", "/api/state"), ("GET", "/api/export/file"), ("POST", "/api/frame")]
ROUTES += [("POST", f"/api/{name}") for name in ("path", "cameras", "latents", "export", "export/stop")]


def raw(port: int, data: bytes, more: bytes = b"") -> bytes:
    """Send bytes, and return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        with contextlib.suppress(OSError):
            connection.sendall(more)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                answer += piece
        return answer


def head(line: str, *headers: str, host: str = "localhost", token: str = TOKEN) -> bytes:
    """A request's line and headers."""
    lines = [f"{line} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {token}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def memory() -> int:
    """The most memory that this process had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- Who may ask ------------------------------------------------------------------------------------------------------


def test_a_page_asks_and_is_answered(asker, model):
    answer = asker.frame()
    assert answer.status == 200 and answer.headers["Content-Type"] == "image/png"
    video = model.video(
        model.w(model.appearance(3)), model.motion(7), cameras=pv3d.frontal(), t=0.5, frames=1, truncation=0.7
    )
    assert np.array_equal(answer.pixels, video.pictures("rgb")[0].permute(1, 2, 0).numpy())
    assert torch.equal(torch.tensor(answer.about["camera"]), pv3d.frontal()), "to the bit, through JSON"
    assert b"Synthetic" in answer.body


@pytest.mark.parametrize("method, path", ROUTES)
@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer Zoë"]
)
def test_without_the_token_there_is_nothing(method, path, given, asker):
    answer = asker.ask(path, None if method == "GET" else b"", {"Authorization": given.encode("latin-1")}, method)
    assert answer.status == 403 and b"lacks the token" in answer.body and TOKEN.encode() not in answer.body


def test_the_page_takes_the_token_from_its_address(asker):
    page = asker.ask(f"/?token={TOKEN}", headers={"Authorization": ""})
    assert page.status == 200 and b"<!doctype html>" in page.body and TOKEN.encode() not in page.body
    assert asker.ask("/?token=wrong", headers={"Authorization": ""}).status == 403
    assert page.headers["Referrer-Policy"] == "no-referrer" and page.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1:1", "[::1]:8123", "192.168.0.7"])
def test_its_own_names_and_addresses_may_be_asked(host, asker):
    assert raw(asker.server.port, head("GET /api/state", "Connection: close", host=host)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8123", "localhost.evil.example", "", "127.0.0.1.nip.io", "[::1"]
)
def test_other_names_may_not_be_asked(host, asker):
    answer = raw(asker.server.port, head("GET /api/state", host=host))
    assert answer.startswith(b"HTTP/1.1 403") and b"not called so" in answer


def test_two_hosts_or_another_origin_are_refused(asker):
    assert raw(asker.server.port, head("GET /", "Host: localhost")).startswith(b"HTTP/1.1 403")
    own = f"127.0.0.1:{asker.server.port}"
    assert asker.ask("/api/frame", WISH_JSON, {"Origin": f"http://{own}"}).status == 200
    for origin in ("http://evil.example", "null", f"http://{own}.evil.example"):
        assert asker.ask("/api/frame", WISH_JSON, {"Origin": origin}).status == 403


# --- What is no request -----------------------------------------------------------------------------------------------


def changed(**parts):
    return json.dumps({**WISH_JSON, **parts}).encode()


def in_scene(**parts):
    return changed(scene={**SCENE_JSON, **parts})


WRONG = {
    "nothing": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "no object": b"[1]",
    "deep": b"[" * 16000,
    "many values": b"[" + b"0," * 8000 + b"0]",
    "a field too many": changed(more=1),
    "a field twice": b'{"client": "a", "client": "b"}',
    "a field missing": json.dumps({key: value for key, value in WISH_JSON.items() if key != "camera"}).encode(),
    "another type": changed(moving="yes"),
    "client": changed(client="../../etc"),
    "a long client": changed(client="a" * 33),
    "panel": changed(panel=-1),
    "half a panel": changed(panel=0.5),
    "no layers": changed(layers=[]),
    "an unknown layer": changed(layers=["rgb", "x"]),
    "a layer twice": changed(layers=["rgb", "rgb"]),
    "layers as text": changed(layers="rgb"),
    "a list as layer": changed(layers=[["rgb"]]),
    "camera": changed(camera=None),
    "24 numbers": changed(camera=[0] * 24),
    "a blind camera": changed(camera=[0] * 25),
    "text in a camera": changed(camera=["x"] * 25),
    "an endless camera": changed(camera=[1e400] * 25).replace(b"Infinity", b"1e999"),
    "pitch": changed(camera={**FRONT, "pitch": 90}),
    "zoom": changed(camera={**FRONT, "zoom": 0}),
    "no number": changed(camera={**FRONT, "zoom": float("nan")}),
    "a switch as number": changed(camera={**FRONT, "zoom": True}),
    "time": in_scene(time=1.01),
    "truncation": in_scene(truncation=1e9),
    "seed": in_scene(first={"seed": -1}),
    "a large seed": in_scene(first={"seed": 10**400}),
    "half a seed": in_scene(first={"seed": 1.5}),
    "latents": in_scene(first={"latents": "/etc/passwd"}),
    "seed and latents": in_scene(first={"seed": 1, "latents": "0" * 16}),
    "a seed's own motion": in_scene(motion=None),
    "no motion": json.dumps({**WISH_JSON, "scene": {k: v for k, v in SCENE_JSON.items() if k != "motion"}}).encode(),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_malformed_wish_is_refused_in_a_sentence(name, asker):
    answer = asker.ask("/api/frame", WRONG[name])
    assert answer.status == 400 and answer.json["error"].endswith("."), answer.body
    with pytest.raises(BadRequest):
        frame_wish(WRONG[name])


@pytest.mark.parametrize(
    "parts",
    [
        *({"frames": frames} for frames in (0, MAX_FRAMES + 1, 2.5, "9")),
        *({"fps": fps} for fps in (0, 1e9)),
        *({"suffix": suffix} for suffix in (".exe", "/../../x.mp4", ".mp4\n", "")),
        *({"labels": labels} for labels in ([], [FRONT] * (MAX_KEYS + 1), None, [None])),
        *({"scale": scale} for scale in (0, 17, 1.5)),
        {"blends": True},
    ],
)
def test_a_malformed_video_is_refused(parts, asker):
    with pytest.raises(BadRequest):
        video_wish(json.dumps({**VIDEO_JSON, **parts}).encode())
    assert asker.ask("/api/export", {**VIDEO_JSON, **parts}).status == 400


@pytest.mark.parametrize(
    "data, status",
    [
        (head("PUT /"), 501),
        (head("BREW /"), 501),
        (head("GET /etc/passwd"), 404),
        (head("GET /../../etc/passwd"), 404),
        (head("POST /"), 404),
        (head("POST /api/frame"), 411),
        (head("POST /api/frame", "Content-Length: -5"), 411),
        (head("POST /api/frame", "Content-Length: 1e3"), 411),
        (head("POST /api/frame", "Content-Length: 5", "Content-Length: 6"), 411),
        (head("POST /api/frame", "Transfer-Encoding: chunked"), 411),
        (head("POST /api/frame", f"Content-Length: {2**14 + 1}"), 413),
        (head("POST /api/cameras", f"Content-Length: {4 * MEGABYTE + 1}"), 413),
        (head("POST /api/latents", f"Content-Length: {2**29}"), 413),
        (head("POST /api/export/stop", "Content-Length: 1"), 413),
        (head("GET /" + "a" * 70000), 414),
        (head("GET /", *(f"X-{number}: 1" for number in range(200))), 431),
        (head("GET /", "X: " + "a" * 70000), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_gets_an_error_and_nothing_else(data, status, asker):
    answer = raw(asker.server.port, data)
    first, _, rest = answer.partition(b"\r\n")
    _, _, body = rest.partition(b"\r\n\r\n")
    assert first.split()[1] == str(status).encode(), answer[:300]
    assert body.endswith(b".\n") and body.count(b"\n") == 1 and b"passwd" not in body and b"Traceback" not in body
    assert asker.frame().status == 200


def test_what_is_left_of_a_body_is_no_request(asker):
    inner = head("GET /api/state")
    answer = raw(asker.server.port, head("POST /nowhere", f"Content-Length: {len(inner)}"), inner)
    assert answer.count(b"HTTP/1.1") == 1 and answer.startswith(b"HTTP/1.1 404")


def test_a_body_that_is_not_read_is_no_request_either(asker):
    inner = head("GET /api/state")
    answer = raw(asker.server.port, head("GET /api/state", f"Content-Length: {len(inner)}"), inner)
    assert answer.count(b"HTTP/1.1 200") == 1


def test_a_body_that_breaks_off_ends_nothing(asker):
    assert raw(asker.server.port, head("POST /api/frame", "Content-Length: 500"), b"{") == b""
    assert asker.frame().status == 200


def test_slow_requests_are_closed_after_a_time(asker, monkeypatch):
    monkeypatch.setattr(viewer_server, "REQUEST_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", asker.server.port), timeout=30) as connection:
        connection.sendall(b"GET / HT")
        started = time.monotonic()
        assert connection.recv(100) == b"" and time.monotonic() - started < 9


# --- Too many ---------------------------------------------------------------------------------------------------------


def test_a_thousand_requests_leave_it_answering_with_bounded_memory(asker):
    asker.frame()
    before, threads = memory(), threading.active_count()
    statuses: list[int] = []
    most_threads = 0

    def one(number: int) -> None:
        nonlocal most_threads
        kinds = [
            lambda: asker.frame(client=f"c{number}").status,
            lambda: asker.frame(scene={**SCENE_JSON, "first": {"seed": number}}).status,
            lambda: asker.ask("/api/cameras", b"[" + b"0," * 100000 + b"0]").status,
            lambda: asker.ask("/api/frame", b"[" * 16000).status,
            lambda: asker.ask("/api/state", headers={"Authorization": "Bearer x"}).status,
        ]
        with contextlib.suppress(OSError):
            statuses.append(kinds[number % len(kinds)]())
        most_threads = max(most_threads, threading.active_count())

    with ThreadPoolExecutor(100) as crowd:
        list(crowd.map(one, range(1000)))
    assert asker.frame().status == 200
    assert {200, 400, 403} <= set(statuses) <= {200, 204, 400, 403, 503}, set(statuses)
    assert memory() - before < 300 * MEGABYTE
    assert most_threads <= threads + 100 + viewer_server.MAX_CONNECTIONS + 2
    waited(lambda: threading.active_count() <= threads + 2, "its threads to end", 20)


def test_more_connections_than_there_are_places_for_are_sent_away(asker):
    waited(lambda: not asker.server.reading, "earlier connections to end", 20)
    connections = [socket.create_connection(("127.0.0.1", asker.server.port)) for _ in range(200)]
    try:
        waited(lambda: len(asker.server.reading) == viewer_server.MAX_CONNECTIONS, "all places to be taken", 20)
        answer = raw(asker.server.port, head("GET /api/state"))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 503"), "closed, at the latest with a word"
    finally:
        for connection in connections:
            connection.close()
    waited(lambda: not asker.server.reading, "them to end", 20)
    assert asker.frame().status == 200


# --- Files ------------------------------------------------------------------------------------------------------------


def test_cameras_of_a_file_come_as_labels(asker, tmp_path):
    path = pv3d.orbit(5)
    answer = asker.ask("/api/cameras", path.tolist(), {"X-Name": "mine.json"})
    assert torch.equal(torch.tensor(answer.json["labels"]), path)
    for content in (
        b"nonsense",
        b"[]",
        b"[[1, 2]]",
        json.dumps([[0] * 25]).encode(),
        b"[" * 9000,
        b"[" + b"0," * 500000 + b"0]",
    ):
        refused = asker.ask("/api/cameras", content, {"X-Name": "Zo%C3%AB.json"})
        assert refused.status == 400 and "Zoë.json" in refused.json["error"]


def test_a_path_of_keys_is_that_of_pv3d(asker, tmp_path):
    keys = [FRONT, {"yaw": 30, "pitch": 5, "zoom": 1}, pv3d.frontal(-20).tolist()]
    labels = torch.stack([pv3d.frontal(), pv3d.frontal(30, 5), pv3d.frontal(-20)])
    same = asker.ask("/api/path", {"labels": keys, "frames": 3}).json["labels"]
    assert torch.equal(torch.tensor(same), labels)
    longer = asker.ask("/api/path", {"labels": keys, "frames": 10}).json["labels"]
    assert torch.equal(torch.tensor(longer), pv3d.resample(labels, 10))
    file = tmp_path / "cameras.json"
    file.write_text(json.dumps(same))
    assert torch.equal(pv3d.read_cameras(file), labels), "gen_videos.py --cameras reads it"
    opposite = [FRONT, {"yaw": 180, "pitch": 0, "zoom": 1}]
    refused = asker.ask("/api/path", {"labels": opposite, "frames": 9})
    assert refused.status == 400 and "opposite" in refused.json["error"]


def test_latents_are_opened_without_running_anything_of_them(asker, tmp_path, model):
    path, own = latents_file(tmp_path, model)
    found = asker.ask("/api/latents", path.read_bytes(), {"X-Name": "me.pt"}).json
    assert (found["name"], found["frames"], found["fps"]) == ("me.pt", 3, 12.5)
    scene = {**SCENE_JSON, "first": {"latents": found["id"]}, "motion": None, "time": 1, "truncation": 1}
    video = model.video(pv3d.W(ws=own.ws), own.z_motion[2], cameras=pv3d.frontal(), t=1.0, frames=1)
    assert np.array_equal(asker.frame(scene=scene).pixels, video.pictures("rgb")[0].permute(1, 2, 0).numpy())

    trap = tmp_path / "ran"
    hostile = f"cposix\nsystem\n(S'touch {trap}'\ntR.".encode()
    for content in (hostile, b"", b"x" * 1000, path.read_bytes()[:-500]):
        refused = asker.ask("/api/latents", content, {"X-Name": "bad.pt"})
        assert refused.status == 400 and "bad.pt" in refused.json["error"]
    assert not trap.exists()
    other, _ = latents_file(tmp_path, model, model="0" * 64)
    assert "another model" in asker.ask("/api/latents", other.read_bytes()).json["error"]
    assert not list(Path(asker.server.service.folder.name).iterdir())
