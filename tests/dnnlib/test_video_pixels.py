"""dnnlib.video: colours come back as they were, players are told which they are, other people's oddities are read."""

import io
import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import UserError
from dnnlib.video import is_frame_rate, read_frames, video_info, write_video

SIDE = 32
# Shares of red and blue in luma. What does not say its matrix is BT.601, whatever its size, as ffmpeg has it.
LUMA = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "unknown": (0.299, 0.114)}


def ffmpeg(*args: str | Path, data: bytes | None = None) -> str:
    """Run ffmpeg; return what it says."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-y", *args]
    return subprocess.run(command, check=True, input=data, capture_output=True).stderr.decode()


# --- Colours ----------------------------------------------------------------------------------------------------------


def flat_fields(bits: int) -> np.ndarray:
    """Return 40 colours [40, 3] as luma and two chromas that lie well inside of RGB, in limited range."""
    rng = np.random.default_rng(0)
    return rng.integers([80, 108, 108], [180, 149, 149], (40, 3)) << (bits - 8)


def rgb_of(fields: np.ndarray, matrix: str, full: bool, bits: int) -> np.ndarray:
    """Return the exact RGB [N, 3] in 0...255 of luma and chromas [N, 3], by the definitions of BT.601 and BT.709."""
    red_weight, blue_weight = LUMA[matrix]
    unit = 1 << (bits - 8)
    zero, luma_range, chroma_range = (0, 256 * unit - 1, 256 * unit - 1) if full else (16, 219 * unit, 224 * unit)
    luma = (fields[:, 0] - zero * unit) / luma_range
    blue_chroma, red_chroma = (fields[:, 1:].T - 128 * unit) / chroma_range
    red = luma + 2 * (1 - red_weight) * red_chroma
    blue = luma + 2 * (1 - blue_weight) * blue_chroma
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return 255 * np.stack([red, green, blue], axis=1)


@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pixels, bits", [("yuv420p", 8), ("yuv444p", 8), ("yuv420p10le", 10)])
def test_decoding_has_no_bias(tmp_path, matrix, full, pixels, bits):
    fields = flat_fields(bits)
    shares = (1, 1 / 4, 1 / 4) if "420" in pixels else (1, 1, 1)
    raw = b""
    for field in fields.astype(np.uint8 if bits == 8 else "<u2"):
        for value, share in zip(field, shares, strict=True):
            raw += value.tobytes() * int(SIDE * SIDE * share)
    described = f"setparams=range={'pc' if full else 'tv'}:colorspace={matrix}"
    source = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{SIDE}x{SIDE}", "-i", "-", "-vf", described]
    ffmpeg(*source, "-c:v", "libx264", "-qp", "0", "-pix_fmt", pixels, tmp_path / "a.mp4", data=raw)
    decoded = np.stack(list(read_frames(tmp_path / "a.mp4")))
    error = decoded - rgb_of(fields, matrix, full, bits)[:, None, None]
    # swscale makes 8 bits of full-range 10 by a division by 4, where 1023 should become 255: 0.37 too bright.
    limit = 0.5 if full and bits == 10 else 0.2
    assert np.abs(error.mean((0, 1, 2))).max() < limit
    assert np.abs(error).max() < 1.2


@pytest.mark.parametrize("kind", ["flat", "noise", "ramp"])
def test_what_is_written_comes_back_without_bias(tmp_path, kind):
    rng = np.random.default_rng(1)
    shape = {"flat": (64, 1, 1, 3), "noise": (16, SIDE // 2, SIDE // 2, 3), "ramp": (16, 2, 1, 3)}[kind]
    drawn = rng.integers(60, 196, shape)
    if kind == "ramp":
        place = np.linspace(0, 1, SIDE)[:, None, None]
        drawn = drawn[:, :1] * (1 - place) + drawn[:, 1:] * place
    zoom = (1, SIDE // drawn.shape[1], SIDE // drawn.shape[2], 1)
    frames = np.kron(drawn, np.ones(zoom)).astype(np.uint8)
    write_video(tmp_path / "a.mp4", frames, fps=25, crf=1)
    bias = (np.stack(list(read_frames(tmp_path / "a.mp4"))).astype(float) - frames).mean((0, 1, 2))
    assert np.abs(bias).max() < 0.2


def test_files_say_three_times_that_they_are_rec_709(tmp_path):
    write_video(tmp_path / "a.mp4", np.full((2, SIDE, SIDE, 3), 90, np.uint8), fps=25)
    said = ffmpeg("-i", tmp_path / "a.mp4", "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-")
    found = dict(
        re.findall(r"(colour_primaries|transfer_\w+|matrix_coefficients|video_full_range_flag) .* = (\d+)", said)
    )
    assert found == {
        "colour_primaries": "1",
        "transfer_characteristics": "1",
        "matrix_coefficients": "1",
        "video_full_range_flag": "0",
    }


# --- Other people's files ---------------------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path) -> Path:
    """A video of 6 frames, 32 x 48, green, and red in its upper rows."""
    frames = np.full((6, SIDE, 48, 3), (0, 120, 0), np.uint8)
    frames[:, : SIDE // 2] = (180, 0, 0)
    write_video(tmp_path / "plain.mp4", frames, fps=25)
    return tmp_path / "plain.mp4"


def boxes(data: bytes) -> list[bytes]:
    """Return the boxes of an MP4, or of one's inside."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        found.append(data[:size])
        data = data[size:]
    return found


def test_a_cover_picture_is_no_video(tmp_path, plain):
    PIL.Image.new("RGB", (300, 200)).save(tmp_path / "cover.jpg")
    both = ["-i", plain, "-i", tmp_path / "cover.jpg", "-map", "0", "-map", "1", "-c", "copy"]
    ffmpeg(*both, "-disposition:v:1", "attached_pic", tmp_path / "after.mp4")
    covered = b""
    for box in boxes((tmp_path / "after.mp4").read_bytes()):
        if box[4:8] == b"moov":
            box = box[:8] + b"".join(sorted(boxes(box[8:]), key=lambda inner: inner[4:8] == b"trak"))
        covered += box
    (tmp_path / "before.mp4").write_bytes(covered)
    for name in ("after.mp4", "before.mp4"):
        info = video_info(tmp_path / name)
        assert (info.frames, info.fps, info.width, info.height) == (6, 25.0, 48, SIDE)
        assert [frame.shape for frame in read_frames(tmp_path / name)] == [(SIDE, 48, 3)] * 6


def test_a_file_of_sound_with_a_cover_has_no_video(tmp_path):
    PIL.Image.new("RGB", (64, 64)).save(tmp_path / "cover.jpg")
    sound = ["-f", "lavfi", "-i", "sine=d=0.1", "-i", tmp_path / "cover.jpg", "-map", "0", "-map", "1", "-c:v", "copy"]
    ffmpeg(*sound, "-disposition:v", "attached_pic", tmp_path / "song.mp4")
    for read in (video_info, lambda path: next(read_frames(path))):
        with pytest.raises(UserError, match=r"song\.mp4: there is none in it"):
            read(tmp_path / "song.mp4")


@pytest.mark.parametrize("sides", [(32, 48), (32, 32)])
def test_frames_of_different_sizes_are_not_made_alike(tmp_path, sides):
    """Where the pixels' format alone changes, nothing is wrong."""
    pictures = b""
    for side, sampling in zip(sides, ("4:2:0", "4:4:4"), strict=True):
        stream = io.BytesIO()
        PIL.Image.new("RGB", (side, side)).save(stream, "JPEG", subsampling=sampling)
        pictures += stream.getvalue()
    ffmpeg("-f", "mjpeg", "-i", "-", "-c", "copy", tmp_path / "a.mkv", data=pictures)
    if sides == (32, 32):
        assert len(list(read_frames(tmp_path / "a.mkv"))) == 2
        return
    with pytest.raises(UserError, match=r"The frames of .*a\.mkv have different sizes"):
        list(read_frames(tmp_path / "a.mkv"))


def test_a_turned_video_is_turned_upright(tmp_path, plain):
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", tmp_path / "turned.mp4")  # counter-clockwise
    info = video_info(tmp_path / "turned.mp4")
    frame = next(read_frames(tmp_path / "turned.mp4"))
    assert (info.width, info.height) == (SIDE, 48) and frame.shape == (48, SIDE, 3)
    assert frame[24, 4, 0] > 170 and frame[24, -4, 1] > 110, "what was up is left"


def test_pixels_that_are_not_square_are_told(tmp_path, plain):
    ffmpeg("-i", plain, "-vf", "setsar=4/3", tmp_path / "wide.mp4")
    assert video_info(tmp_path / "wide.mp4").pixel_aspect == pytest.approx(4 / 3)


def test_the_rate_of_uneven_times_is_their_mean(tmp_path):
    write_video(tmp_path / "even.mp4", np.zeros((60, SIDE, SIDE, 3), np.uint8), fps=25)
    times = ["-vf", "setpts=N*N/600/TB", "-fps_mode", "vfr", "-enc_time_base", "1/90000", "-bf", "0"]
    ffmpeg("-i", tmp_path / "even.mp4", *times, tmp_path / "uneven.mp4")
    info = video_info(tmp_path / "uneven.mp4")
    assert info.frames == 60 and info.fps == pytest.approx(10, abs=0.5), "60 frames in about 6 seconds"


def test_frame_rates():
    assert all(is_frame_rate(fps) for fps in (0.01, 1, 29.97, 1000))
    assert not any(is_frame_rate(fps) for fps in (0, -25, 0.001, 1200, float("nan"), float("inf"), "25", None))
