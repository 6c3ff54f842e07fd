"""Sources are listed in order under safe names, with their speakers; bad ones are a line, not an end."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from dnnlib.errors import UserError
from preprocessing.frames import plan_reading, read_source
from preprocessing.records import SourceVideo
from preprocessing.sources import list_sources

PATTERN = ("-f", "lavfi", "-i", "testsrc=d=0.4:r=25:s=64x48")
# What a video is made with, and what has to come of it: width, height and number of frames.
KINDS = {
    "portrait": (("-vf", "scale=48:64,setsar=1"), (48, 64), 10),
    "10 bits": (("-pix_fmt", "yuv420p10le"), (64, 48), 10),
    "grey": (("-pix_fmt", "gray"), (64, 48), 10),
    "one frame": (("-frames:v", "1"), (64, 48), 1),
    "odd size": (("-vf", "scale=63:47,setsar=1", "-pix_fmt", "yuv444p"), (63, 47), 10),
    "wide pixels": (("-vf", "setsar=2"), (128, 48), 10),
}


def ffmpeg(*args: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, args)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def source(path) -> SourceVideo:
    return SourceVideo(name=path.stem, path=path)


@pytest.mark.parametrize("kind", KINDS)
def test_videos_of_all_kinds(kind, tmp_path):
    options, (width, height), frames = KINDS[kind]
    path = tmp_path / "vidéo of a kind.mkv"
    ffmpeg(*PATTERN, *options, path)
    found = list(read_source(source(path), plan_reading(source(path), None)))
    assert len(found) == frames
    assert {frame.shape for frame in found} == {(height, width, 3)}


def test_turned_videos_are_upright(tmp_path):
    ffmpeg(*PATTERN, tmp_path / "lying.mp4")
    ffmpeg("-display_rotation", 90, "-i", tmp_path / "lying.mp4", "-c", "copy", tmp_path / "turned.mp4")
    video = source(tmp_path / "turned.mp4")
    assert {frame.shape for frame in read_source(video, plan_reading(video, None))} == {(64, 48, 3)}


def test_even_videos_are_taken_as_they_are(tmp_path):
    """Matroska's time stamps are rounded to thousandths of a second, 33 and 34 by turns: that is even enough."""
    for name in ("even.mp4", "even.mkv"):
        ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:r=30:s=64x48", tmp_path / name)
        reading = plan_reading(source(tmp_path / name), None)
        assert (reading.resample, reading.fps, reading.notes) == (False, 30.0, ())


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_uneven_videos_are_resampled_with_a_note(suffix, tmp_path):
    path = tmp_path / f"uneven.{suffix}"
    choice = r"select='not(mod(n\,7))+not(mod(n\,3))'"
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=2:r=30:s=64x48", "-vf", choice, "-fps_mode", "vfr", path)
    reading = plan_reading(source(path), None)
    assert abs(reading.fps - 12.9) < 0.6  # 26 of 60 frames in 2 seconds
    assert reading.resample and "different times" in reading.notes[0]
    frames = list(read_source(source(path), reading))
    assert abs(len(frames) - 2 * reading.fps) <= 2
    again = list(read_source(source(path), reading))
    np.testing.assert_array_equal(frames, again)


@pytest.mark.parametrize("content", [b"", b"not a video at all", b"\x00" * 5000])
def test_files_that_are_no_videos_get_a_sentence(content, tmp_path):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match="Cannot read the video|is not a video|empty"):
        plan_reading(source(path), None)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5", path)
    with pytest.raises(UserError, match="there is none in it"):
        plan_reading(source(path), None)


def test_hdr_is_refused(tmp_path):
    path = tmp_path / "hdr.mkv"
    filters = "format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67"
    ffmpeg(*PATTERN, "-vf", filters, "-c:v", "libx264", path)
    with pytest.raises(UserError, match="HDR"):
        plan_reading(source(path), None)


def test_folders_are_listed_in_natural_order(tmp_path):
    for name in ("b/clip10.mp4", "b/clip2.MP4", "a ü.png", ".hidden.mp4", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    videos, notes = list_sources(tmp_path)
    assert [video.name for video in videos] == ["a ü", "b/clip2", "b/clip10"]
    assert notes == ["Not taken: files that are no videos or pictures (1): notes.txt."]
    (single,), _ = list_sources(tmp_path / "b" / "clip2.MP4")
    assert single.name == "clip2"


def test_a_single_file_of_another_kind_gets_a_sentence(tmp_path):
    (tmp_path / "p.webp").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="has no videos or pictures"):
        list_sources(tmp_path / "p.webp")


def test_the_work_folder_is_no_source(tmp_path):
    for name in ("clip.mp4", "talks.work/clips/clip/00000.png", "other.work/a.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    videos, _ = list_sources(tmp_path, work=tmp_path / "." / "talks.work")
    assert [video.name for video in videos] == ["clip", "other.work/a"]


def test_two_files_of_one_name_are_refused(tmp_path):
    for name in ("clip.mp4", "clip.avi"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match="would have one name"):
        list_sources(tmp_path)


def test_speakers(tmp_path):
    for name in ("id1/a.mp4", "id2/b.mp4", "c.mp4"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    speakers = tmp_path / "speakers.txt"
    speakers.write_text("id1 Ann\nid2/b.mp4\tBob\n\n")
    videos, notes = list_sources(tmp_path / "in", speakers)
    assert {video.name: video.speaker for video in videos} == {"c": None, "id1/a": "Ann", "id2/b": "Bob"}
    assert notes == ["No speaker is given for 1 videos, which are told apart by their faces: c."]
    for text, words in (("elsewhere Ann", "names no speaker of any video"), ("alone", "is not `name speaker`")):
        speakers.write_text(text)
        with pytest.raises(UserError, match=words):
            list_sources(tmp_path / "in", speakers)
    speakers.write_text("c Ann\nc Bob")
    with pytest.raises(UserError, match="two speakers of c"):
        list_sources(tmp_path / "in", speakers)
