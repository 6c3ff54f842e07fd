"""Hostile sources in the published layout: videos, cameras and lists; `CASES` maps a name to (outcome, build).

build(root) makes the source in an empty folder and returns its path.
"""

import contextlib
import io
import json
import os
import socket
import struct
import subprocess
import wave
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import imageio_ffmpeg
import numpy as np

from dnnlib.video import write_video
from tests.hostile.hostile_data import bind_socket, link, sparse
from tests.hostile.hostile_frames import CASES as PICTURES
from tests.hostile.hostile_indexes import CAMERA, SIDE
from training.data.convert import CAMERAS, VIDEOS

LENGTH = 9
VIDEO, CAMERA_FILE, LIST = f"{VIDEOS}/anna.mp4", f"{CAMERAS}/anna.json", "clips.list"


class Outcome(NamedTuple):
    """Exit status of `dataset_tool.py convert`; whether the videos can be scored."""

    convert: int
    watch: bool


FINE = Outcome(0, True)
NO_VIDEO = Outcome(2, False)
NO_CLIP = Outcome(2, True)  # its cameras or its name are bad, or the number of frames
ANY = None  # random damage

Build = Callable[[Path], Path]


@lru_cache(1)
def sound_video(root: Path = Path(".")) -> bytes:
    """LENGTH frames of noise."""
    path = root / "sound.mp4"
    rng = np.random.default_rng(0)
    write_video(path, (rng.integers(0, 256, [SIDE, SIDE, 3], dtype=np.uint8) for _ in range(LENGTH)), 25)
    data = path.read_bytes()
    path.unlink()
    return data


def entries() -> list:
    """The sound video's cameras."""
    return [[f"{number:05d}.png", CAMERA] for number in range(LENGTH)]


def source(root: Path) -> Path:
    """A sound source of one clip."""
    for name, data in ((VIDEO, sound_video()), (CAMERA_FILE, json.dumps(entries()).encode())):
        path = root / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "source"


def with_file(name: str, content: Callable[[], bytes], root: Path) -> Path:
    """The source with one file more, or another content."""
    (source(root) / name).write_bytes(content())
    return root / "source"


def with_special(name: str, make: Callable[[Path], object], root: Path) -> Path:
    """The source with something else in place of a file."""
    path = source(root) / name
    path.unlink(missing_ok=True)
    make(path)
    return root / "source"


def edited(change: Callable[[bytearray], bytes | None]) -> Callable[[], bytes]:
    """The sound video with its bytes changed in place, or replaced by what is returned."""

    def content() -> bytes:
        data = bytearray(sound_video())
        return bytes(change(data) or data)

    return content


def poke(box: bytes, offset: int, form: str, *values: int) -> Callable[[], bytes]:
    """Numbers changed in a box of the sound video, counted from the box's name."""
    return edited(lambda data: struct.pack_into(form, data, data.index(box) + offset, *values))


def flipped(seed: int) -> Callable[[], bytes]:
    """Sixteen random bytes changed; odd seeds: all in the header."""

    def change(data: bytearray) -> None:
        rng = np.random.default_rng(seed)
        for place in rng.integers(0, data.index(b"mdat") if seed % 2 else len(data), 16):
            data[place] = rng.integers(256)

    return edited(change)


def sound() -> bytes:
    """A WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return buffer.getvalue()


def gif(width: int, height: int) -> bytes:
    """A GIF whose screen and picture are of this size, and whose pixels are missing."""
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + size + b"\0" + b"\x02\x02\x4c\x01\x00;"


def made(args: list[str], root: Path) -> Path:
    """A source whose video ffmpeg makes."""
    path = source(root) / VIDEO
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "lavfi", *args, path], check=True)
    return root / "source"


@lru_cache(1)
def listener() -> socket.socket:
    """A server that no case may call."""
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    return server


def callers() -> int:
    """How many have called since."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener().accept()[0].close()
            count += 1
    return count


def pointing(text: str, root: Path) -> Path:
    """A playlist named .mp4 that points at a sound video, which must not be opened for it."""
    path = source(root)
    (path / VIDEOS / "secret.ts").write_bytes(sound_video())
    (path / VIDEO).write_text(text.format(folder=path / VIDEOS, port=listener().getsockname()[1]))
    (path / LIST).write_text("anna\n")
    return path


def _videos() -> Iterator[tuple[str, Outcome | None, Build]]:
    content = {
        "nothing": b"",
        "text": b"not a video",
        "wav": sound(),
        "pickle": b'\x80\x04cos\nsystem\n(S"true"\ntR.',
        "gif of 65535 x 65535": gif(65535, 65535),
        "png": PICTURES["header of 100000 x 100000"][1](),
        "subtitles": b"1\n00:00:00,000 --> 00:00:01,000\nhello\n",
        "sdp": b"v=0\nm=video 5004 RTP/AVP 96\n",
    }
    for name, data in content.items():
        yield f"video: {name}", NO_VIDEO, partial(with_file, VIDEO, lambda data=data: data)
    for name, cut in (("half", 2), ("a tenth", 10)):
        yield (
            f"video cut to {name}",
            NO_VIDEO,
            partial(with_file, VIDEO, edited(lambda data, cut=cut: data[: len(data) // cut])),
        )
    yield "video of 65535 x 65535", FINE, partial(with_file, VIDEO, poke(b"avc1", 28, ">HH", 65535, 65535))
    for name, change in (
        ("10^9 time stamps", poke(b"stts", 12, ">I", 10**9)),
        ("10^9 sizes", poke(b"stsz", 12, ">I", 10**9)),
        ("frames of 2 GiB", poke(b"stsz", 16, ">I", 2**31 - 1)),
        ("no track", poke(b"trak", 0, ">I", 0)),
        ("frames beyond the end", poke(b"stco", 12, ">I", 2**31)),
        ("a header of 2^32 - 1", poke(b"moov", -4, ">I", 2**32 - 1)),
    ):
        yield f"video that claims {name}", ANY, partial(with_file, VIDEO, change)
    for seed in range(8):
        yield f"video with random bytes {seed}", ANY, partial(with_file, VIDEO, flipped(seed))
    for name, make in (
        ("pipe", os.mkfifo),
        ("link to /dev/zero", link("/dev/zero")),
        ("folder", Path.mkdir),
        ("link to /etc/passwd", link("/etc/passwd")),
        ("socket", bind_socket),
        ("link to itself", link("anna.mp4")),
        ("file of 16 GiB", sparse),
    ):
        yield f"video is a {name}", NO_VIDEO, partial(with_special, VIDEO, make)
    yield "video without end", Outcome(2, True), partial(made, ["-i", f"color=s={SIDE}x{SIDE}:d=400"])
    yield "video that is not square", Outcome(2, True), partial(made, ["-i", "color=s=64x32:d=0.36"])
    lie = "Stream #0:0: Video: x, 99999x99999, 1.2.3 fps"
    yield (
        "video that lies about its stream",
        FINE,
        partial(made, ["-i", f"color=s={SIDE}x{SIDE}:d=0.36", "-metadata:s:v", f"handler_name={lie}\n  {lie}"]),
    )


def _playlists() -> Iterator[tuple[str, Outcome | None, Build]]:
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    for where in (
        "secret.ts",
        "{folder}/secret.ts",
        "file:{folder}/secret.ts",
        "http://127.0.0.1:{port}/x.ts",
        "concat:/etc/passwd",
        "subfile,,start,0,end,9,,:/etc/passwd",
    ):
        yield f"HLS of {where.split(':')[0]}", NO_VIDEO, partial(pointing, hls.replace("{}", where))
    for where in ("secret.ts", "file:{folder}/secret.ts", "/etc/passwd"):
        yield f"concat of {where}", NO_VIDEO, partial(pointing, f"ffconcat version 1.0\nfile {where}\n")
    yield (
        "DASH",
        NO_VIDEO,
        partial(
            pointing,
            '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet><Representation>'
            "<BaseURL>{folder}/secret.ts</BaseURL></Representation></AdaptationSet></Period></MPD>",
        ),
    )


def _cameras() -> Iterator[tuple[str, Outcome | None, Build]]:
    def put(value: object) -> Build:
        return partial(with_file, CAMERA_FILE, lambda: json.dumps(value).encode())

    for value in (None, 1, "ab", {}, {"ab": 1}, [], [1], ["ab"], [[]], [["a", 1, 2]], [["a", None]], [["a", "b"]]):
        yield f"cameras: {value}", NO_CLIP, put(value)
    for name, change in (
        ("24 numbers", CAMERA[:24]),
        ("26 numbers", [*CAMERA, 0]),
        ("texts", ["x"] * 25),
        ("10^400", [10**400] * 25),
        ("NaN", [float("nan")] * 25),
        ("1e300", [1e300] * 25),
        ("ragged", [[1], 2] * 12 + [1]),
    ):
        yield f"camera: {name}", NO_CLIP, put([*entries()[1:], ["x", change]])
    yield "cameras: one less", NO_CLIP, put(entries()[1:])
    yield "cameras: one more", NO_CLIP, put(entries() + entries()[:1])
    for name, text in (
        ("nothing", b""),
        ("not UTF-8", b"\xff\xfe\x00"),
        ("100000 brackets", b"[" * 100_000),
        ("10^5000", b'[["x", [1' + b"0" * 5000 + b"]]]"),
        ("9 MB", b"[" + b" " * 9 * 10**6 + b"]"),
        ("8 MB of lists", b"[" + b"[]," * 2_700_000 + b"0]"),
    ):
        yield f"camera file: {name}", NO_CLIP, partial(with_file, CAMERA_FILE, lambda text=text: text)
    for name, make in (
        ("pipe", os.mkfifo),
        ("link to /dev/zero", link("/dev/zero")),
        ("folder", Path.mkdir),
        ("link to /etc/passwd", link("/etc/passwd")),
        ("file of 16 GiB", sparse),
        ("link to nowhere", link("nowhere")),
    ):
        yield f"camera file is a {name}", NO_CLIP, partial(with_special, CAMERA_FILE, make)


def _lists() -> Iterator[tuple[str, Outcome | None, Build]]:
    for name in (
        b"../../etc/passwd",
        b"/",
        b"..",
        b"a\x1b[2J",
        b"a:b",
        b"a\\b",
        b"\xff",
        b"a\x00b",
        b"dataset.json.mp4",
        b"absent",
        b"x" * 10**5,
    ):
        yield f"list of {name[:20]!r}", NO_CLIP, partial(with_file, LIST, lambda name=name: name + b"\n")
    yield "list with a clip twice", FINE, partial(with_file, LIST, lambda: b"anna.mp4\n\n  x/anna.avi 1 2\n")
    for name, make in (
        ("pipe", os.mkfifo),
        ("link to /dev/zero", link("/dev/zero")),
        ("folder", Path.mkdir),
        ("file of 16 GiB", sparse),
    ):
        yield f"list is a {name}", NO_CLIP, partial(with_special, LIST, make)


def _cases() -> Iterator[tuple[str, Outcome | None, Build]]:
    yield "sound source", FINE, source
    for part in (_videos, _playlists, _cameras, _lists):
        yield from part()


CASES: dict[str, tuple[Outcome | None, Build]] = {name: (outcome, build) for name, outcome, build in _cases()}
