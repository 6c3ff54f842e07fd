"""dnnlib.video: what is written can be read back, plays in browsers, and broken files are named."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import PIL.Image
import pytest

from dnnlib.errors import UserError
from dnnlib.video import VideoInfo, read_frames, require_ffmpeg, video_info, write_video


def ramp(frames: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth coloured frames; the red level counts the frames."""
    y, x = np.mgrid[0:height, 0:width]
    green, blue = 40 + 120 * y / height, 60 + 120 * x / width
    return [np.stack([np.full_like(green, 20 + 10 * k), green, blue], axis=-1).astype(np.uint8) for k in range(frames)]


def test_round_trip(tmp_path):
    path, frames = tmp_path / "a.mp4", ramp(12, 48, 64)
    write_video(path, iter(frames), fps=25)
    info = video_info(path)
    assert (info.frames, info.fps, info.width, info.height) == (12, 25.0, 64, 48)
    assert video_info(path, max_frames=1) == VideoInfo(frames=1, fps=25.0, width=64, height=48, pixel_aspect=1.0)
    decoded = list(read_frames(path))
    assert len(decoded) == 12 and decoded[0].dtype == np.uint8
    for frame, back in zip(frames, decoded, strict=True):
        error = np.abs(frame.astype(int) - back)
        assert error.mean() < 2.5 and np.abs(frame.mean((0, 1)) - back.mean((0, 1))).max() < 2.5
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_file_is_what_browsers_play(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, ramp(3, 33, 51), fps=30)
    probe = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path]  # without an output ffmpeg describes the file and exits 1
    said = subprocess.run(probe, check=False, capture_output=True, text=True).stderr
    assert "h264 (High)" in said and "yuv420p(tv, bt709, progressive)" in said  # one bt709 for three that agree
    assert "52x34" in said and "30 fps" in said
    content = path.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    first = next(iter(read_frames(path)))
    assert np.abs(first[-1].astype(int) - first[-2]).max() < 6, "padding repeats the edge"


def test_every_stored_frame_is_read_once_whatever_the_time_stamps(tmp_path):
    even, uneven = tmp_path / "even.mp4", tmp_path / "uneven.mkv"  # MP4 of ffmpeg 7 hides the last frame
    write_video(even, ramp(10, 32, 32), fps=25)
    times = ["-vf", "setpts=N*(N+1)/50/TB", "-fps_mode", "vfr", "-enc_time_base", "1/1000"]
    packed(uneven, "-i", even, *times)
    assert len(list(read_frames(uneven))) == video_info(uneven).frames == 10


def test_failures_leave_nothing_behind(tmp_path):
    def interrupted():
        yield from ramp(3, 32, 32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", interrupted(), fps=25)
    with pytest.raises(ValueError, match="No frames"):
        write_video(tmp_path / "a.mp4", [], fps=25)
    with pytest.raises(ValueError, match="one size"):
        write_video(tmp_path / "a.mp4", [*ramp(1, 32, 32), *ramp(1, 32, 34)], fps=25)
    with pytest.raises(ValueError, match="uint8"):
        write_video(tmp_path / "a.mp4", [np.zeros((32, 32, 3))], fps=25)
    assert list(tmp_path.iterdir()) == []


def test_broken_files(tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    rng = np.random.default_rng(0)
    write_video(whole, (rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(12)), fps=25)
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    for path in (cut, text):
        for read in (lambda p: list(read_frames(p)), video_info):
            with pytest.raises(UserError, match=f"Cannot read the video .*{path.name}"):
                read(path)
    with pytest.raises(UserError, match="does not exist"):
        video_info(tmp_path / "absent.mp4")


def packed(path: Path, *args: str | Path) -> Path:
    """A video file that ffmpeg makes with these arguments."""
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *args, path], check=True)
    return path


def test_giant_frames_are_refused(tmp_path):
    for side in (5000, 6000):
        PIL.Image.new("1", (side, side)).save(tmp_path / f"{side}.png")
        packed(tmp_path / f"{side}.mov", "-i", tmp_path / f"{side}.png", "-c", "copy")
    assert next(read_frames(tmp_path / "5000.mov")).shape == (5000, 5000, 3)
    for read in (lambda path: next(read_frames(path)), video_info):
        with pytest.raises(UserError, match="Cannot read the video"):
            read(tmp_path / "6000.mov")


def test_a_name_inside_does_not_pass_for_the_stream(tmp_path):
    write_video(tmp_path / "a.mp4", ramp(3, 32, 32), fps=25)
    lie = "handler_name=Stream #0:0: Video: x, 77x77, 7.5 fps\n   Stream #0:0: Video: x, 77x77, 7.5 fps"
    arguments = ["-i", tmp_path / "a.mp4", "-c", "copy", "-metadata:s:v", lie]
    path = packed(tmp_path / "b.mp4", *arguments)
    assert video_info(path) == VideoInfo(frames=3, fps=25.0, width=32, height=32, pixel_aspect=1.0)


@pytest.mark.parametrize("other", ["inside.mp4", "file:{folder}/inside.mp4"])
def test_playlists_are_no_videos(tmp_path, other):
    write_video(tmp_path / "inside.mp4", ramp(3, 32, 32), fps=25)
    where = other.format(folder=tmp_path)
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {where}\n")
    (tmp_path / "hls.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{where}\n#EXT-X-ENDLIST\n")
    for name in ("concat.mp4", "hls.mp4"):
        with pytest.raises(UserError, match="Cannot read the video"):
            video_info(tmp_path / name)


@pytest.mark.parametrize("program", ["/nonexistent/ffmpeg", "/bin/false"])
def test_no_ffmpeg(tmp_path, monkeypatch, program):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", program)
    with pytest.raises(UserError, match="ffmpeg"):
        write_video(tmp_path / "a.mp4", ramp(2, 32, 32), fps=25)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="ffmpeg does not run: install it"):
        require_ffmpeg()


def test_ffmpeg_is_there():
    require_ffmpeg()


def test_reading_can_stop_early(tmp_path):
    write_video(tmp_path / "a.mp4", ramp(30, 32, 32), fps=25)
    frames = read_frames(tmp_path / "a.mp4")
    assert next(frames).shape == (32, 32, 3)
    frames.close()


@pytest.mark.parametrize("suffix, codec, error", [(".webm", "vp9", 3.0), (".gif", "gif", 6.0), (".GIF", "gif", 6.0)])
def test_other_formats_come_back(tmp_path, suffix, codec, error):
    path, frames = tmp_path / f"a{suffix}", ramp(6, 32, 48)
    write_video(path, iter(frames), fps=25, comment="made here")
    said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], check=False, capture_output=True, text=True)
    assert f"Video: {codec}" in said.stderr and "25 fps" in said.stderr
    decoded = list(read_frames(path))
    assert len(decoded) == 6
    for frame, back in zip(frames, decoded, strict=True):
        assert np.abs(frame.astype(int) - back).mean() < error
    assert b"made here" in path.read_bytes()
    assert codec != "gif" or PIL.Image.open(path).n_frames == 6


def test_formats_that_are_refused(tmp_path):
    with pytest.raises(UserError, match="a.avi is no video that can be written: .* .mp4, .webm, .gif"):
        write_video(tmp_path / "a.avi", ramp(2, 32, 32), fps=25)
    with pytest.raises(UserError, match="60 frames a second: a GIF has up to 50"):
        write_video(tmp_path / "a.gif", ramp(2, 32, 32), fps=60)
    assert list(tmp_path.iterdir()) == []
