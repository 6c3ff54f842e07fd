"""Functions that damage a sound source in the published layout: videos, cameras, a list.

Each returns a function that makes the source in a folder.
"""

import contextlib
import io
import json
import socket
import struct
import subprocess
import wave
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from dnnlib.video import write_video
from tests.hostile.hostile_indexes import CAMERA, SIDE
from training.data.published import CAMERAS, VIDEOS

LENGTH = 9  # frames of the sound video
VIDEO = f"{VIDEOS}/anna.mp4"
CAMERA_FILE = f"{CAMERAS}/anna.json"
LIST = "clips.list"
DAMAGED_BYTES = 16  # of a video with random damage

Make = Callable[[Path], Path]


# --- The sound source ------------------------------------------------------------------------------------------------


@lru_cache(1)
def sound_video() -> bytes:
    """Return a video of LENGTH frames of noise."""
    path = Path("sound.mp4")
    rng = np.random.default_rng(0)
    write_video(path, (rng.integers(0, 256, [SIDE, SIDE, 3], dtype=np.uint8) for _ in range(LENGTH)), 25)
    data = path.read_bytes()
    path.unlink()
    return data


def sound_cameras() -> list:
    """Return the content of the sound video's camera file."""
    return [[f"{number:05d}.png", CAMERA] for number in range(LENGTH)]


def write_source(root: Path) -> Path:
    """Write a sound source of one clip."""
    for name, data in ((VIDEO, sound_video()), (CAMERA_FILE, json.dumps(sound_cameras()).encode())):
        path = root / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "source"


# --- Files -----------------------------------------------------------------------------------------------------------


def with_file(name: str, content: Callable[[], bytes]) -> Make:
    """Return the maker of a source with one file more, or with another content of one."""

    def make(root: Path) -> Path:
        path = write_source(root)
        (path / name).write_bytes(content())
        return path

    return make


def with_special(name: str, make_special: Callable[[Path], object]) -> Make:
    """Return the maker of a source in which `make_special` makes something else in place of a file."""

    def make(root: Path) -> Path:
        path = write_source(root)
        (path / name).unlink(missing_ok=True)
        make_special(path / name)
        return path

    return make


def with_cameras(value: object) -> Make:
    """Return the maker of a source whose camera file is this value as JSON."""
    return with_file(CAMERA_FILE, lambda: json.dumps(value).encode())


def with_last_camera(value: list) -> Make:
    """Return the maker of a source whose last camera is this one."""
    return with_cameras([*sound_cameras()[1:], ["x", value]])


# --- Videos ----------------------------------------------------------------------------------------------------------


def with_video_bytes(change: Callable[[bytearray], bytes | None]) -> Make:
    """Return the maker of a source whose video's bytes `change` changes in place, or replaces by what it returns."""

    def content() -> bytes:
        data = bytearray(sound_video())
        return bytes(change(data) or data)

    return with_file(VIDEO, content)


def with_video_cut_to(part: int) -> Make:
    """Return the maker of a source of whose video the first 1 / `part` is left."""
    return with_video_bytes(lambda data: data[: len(data) // part])


def with_box(box: bytes, offset: int, form: str, *values: int) -> Make:
    """Return the maker of a source with numbers changed in a box of its video, `offset` bytes from the box's name."""
    return with_video_bytes(lambda data: struct.pack_into(form, data, data.index(box) + offset, *values))


def with_random_damage(seed: int) -> Make:
    """Return the maker of a source with random bytes changed in its video; if `seed` is odd, all in the header."""

    def change(data: bytearray) -> None:
        rng = np.random.default_rng(seed)
        end = data.index(b"mdat") if seed % 2 else len(data)
        for place in rng.integers(0, end, DAMAGED_BYTES):
            data[place] = rng.integers(256)

    return with_video_bytes(change)


def with_made_video(*arguments: str) -> Make:
    """Return the maker of a source whose video ffmpeg makes of a test pattern."""

    def make(root: Path) -> Path:
        path = write_source(root)
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "lavfi"]
        subprocess.run([*ffmpeg, *arguments, path / VIDEO], check=True)
        return path

    return make


def sound_file() -> bytes:
    """Return a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return buffer.getvalue()


def gif(width: int, height: int) -> bytes:
    """Return a GIF whose screen and picture are of this size, and whose pixels are missing."""
    size = struct.pack("<HH", width, height)
    return b"GIF89a" + size + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + size + b"\0" + b"\x02\x02\x4c\x01\x00;"


# --- Playlists -------------------------------------------------------------------------------------------------------


@lru_cache(1)
def server() -> socket.socket:
    """Return a server that no case may call."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    return listening


def count_callers() -> int:
    """Return how often the server was called since the last count."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            connection, _ = server().accept()
            connection.close()
            count += 1
    return count


def with_playlist(text: str) -> Make:
    """Return the maker of a source whose video is a playlist that points at a sound video, which must not be opened.

    `{folder}` in `text` becomes the folder of the videos, `{port}` the port of the server.
    """

    def make(root: Path) -> Path:
        path = write_source(root)
        (path / VIDEOS / "secret.ts").write_bytes(sound_video())
        port = server().getsockname()[1]
        (path / VIDEO).write_text(text.format(folder=path / VIDEOS, port=port))
        (path / LIST).write_text("anna\n")
        return path

    return make


def hls(where: str) -> Make:
    """Return the maker of a source whose video is an HLS playlist."""
    return with_playlist(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{where}\n#EXT-X-ENDLIST\n")


def concat(where: str) -> Make:
    """Return the maker of a source whose video is a list for ffmpeg's concat."""
    return with_playlist(f"ffconcat version 1.0\nfile {where}\n")


def dash(where: str) -> Make:
    """Return the maker of a source whose video is a DASH manifest."""
    return with_playlist(
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet><Representation>'
        f"<BaseURL>{where}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )
