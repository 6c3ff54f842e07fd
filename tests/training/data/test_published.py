"""training.data.published: every clip is taken once, refused or named, and has the cameras of its own frames."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from training.data.published import CAMERAS, VIDEOS, frame_order, published_clips


@pytest.fixture
def source(tmp_path) -> Path:
    """An empty source."""
    for folder in (VIDEOS, CAMERAS):
        (tmp_path / folder).mkdir()
    return tmp_path


def put(source: Path, *names: str) -> None:
    """Write empty files; they are listed, not opened."""
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()


def put_clips(source: Path, *names: str) -> None:
    """Write videos and their camera files."""
    put(source, *(f"{VIDEOS}/{name}.mp4" for name in names), *(f"{CAMERAS}/{name}.json" for name in names))


def names(source: Path) -> list[str]:
    """Return the names of the clips, the files of which must be there."""
    clips, _ = published_clips(source)
    assert all(clip.video.is_file() and clip.cameras.is_file() for clip in clips)
    return [clip.name for clip in clips]


def notes(source: Path) -> list[str]:
    return published_clips(source)[1]


# --- All videos -------------------------------------------------------------------------------------------------------


def test_clips_are_in_the_order_of_their_numbers(source):
    put_clips(source, *map(str, range(12)))
    assert names(source) == [str(number) for number in range(12)]
    assert notes(source) == []


def test_suffixes_are_taken_in_any_case(source):
    put_clips(source, "anna")
    put(source, f"{VIDEOS}/ben.MP4", f"{CAMERAS}/ben.JSON", f"{VIDEOS}/carl.m4v", f"{CAMERAS}/carl.json")
    assert names(source) == ["anna", "ben", "carl"]
    assert notes(source) == []


@pytest.mark.parametrize("name", ["anna b. smith", "v1.2", "anna.mp4", "Zoë", "12:30 h", "a/b c/00.1"])
def test_names_with_dots_spaces_and_the_like(source, name):
    put_clips(source, name)
    assert names(source) == [name]
    for line in (name, f"{name}.mp4", f"  {name}.MP4\r"):
        (source / "x.list").write_text(f"\ufeff{line}\n", encoding="utf-8")
        assert names(source) == [name]
    assert notes(source) == []


def test_accents_may_be_composed_or_not(source):
    for form, path in (("NFC", f"{VIDEOS}/Zoë.mp4"), ("NFD", f"{CAMERAS}/Zoë.json"), ("NFD", "x.list")):
        put(source, unicodedata.normalize(form, path))
    (source / "x.list").write_text(unicodedata.normalize("NFD", "Zoë.mp4"))
    assert names(source) == ["Zoë"]
    assert notes(source) == []


@pytest.mark.parametrize("second", ["a/Zoë.mov", "a/Zoë.MP4", unicodedata.normalize("NFD", "a/Zoë.mp4")])
def test_two_files_of_one_clip_are_refused(source, second):
    put_clips(source, "a/Zoë")
    put(source, f"{VIDEOS}/{second}")
    with pytest.raises(UserError, match="would be one clip: rename or move one"):
        published_clips(source)


def test_a_clip_cannot_take_the_place_of_the_index(source):
    put_clips(source, "dataset.json/a")
    with pytest.raises(UserError, match="begins with the name of the index"):
        published_clips(source)


def test_leftovers_are_nobodys_clips(source):
    put_clips(source, "anna", "._anna", "__MACOSX/anna")
    put(source, f"{VIDEOS}/.DS_Store", f"{VIDEOS}/Thumbs.db", "._x.list")
    assert names(source) == ["anna"]
    assert notes(source) == []


def test_where_there_is_no_video_what_is_there_is_named(source):
    put(source, f"{VIDEOS}/a.wmv", f"{VIDEOS}/b.wmv", f"{CAMERAS}/a.json")
    with pytest.raises(UserError, match="has no videos, but a.wmv, b.wmv: it needs"):
        published_clips(source)


def test_what_is_not_taken_is_counted_and_named(source, tmp_path_factory):
    put_clips(source, "anna")
    put(source, *(f"{VIDEOS}/{number}.mpg" for number in range(7)), f"{CAMERAS}/carl.json", f"{CAMERAS}/notes.txt")
    (source / VIDEOS / "linked").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    assert names(source) == ["anna"]
    assert notes(source) == [
        f"Not taken: files in {VIDEOS} that are no videos (8): 0.mpg, 1.mpg, 2.mpg, 3.mpg, 4.mpg and 3 more.",
        f"Not taken: files in {CAMERAS} that are no files of cameras (1): notes.txt.",
        "Not taken: files of cameras without video (1): carl.json.",
    ]


def test_a_video_without_cameras_is_a_clip_that_cannot_be_read(source):
    put(source, f"{VIDEOS}/a/anna.mp4")
    ((clip,), said) = published_clips(source)
    assert (clip.name, clip.cameras, said) == ("a/anna", source / CAMERAS / "a/anna.json", [])


# --- Lists ------------------------------------------------------------------------------------------------------------

FOLDERS = ("id1/a/00001", "id2/b/00001")


def test_clips_in_folders_are_distinct(source):
    put_clips(source, *FOLDERS)
    assert names(source) == list(FOLDERS)
    (source / "x.list").write_text("id2/b/00001.mp4\nid1/a/00001.mp4\n")
    assert names(source) == list(FOLDERS[::-1])


def test_listed_clips_that_collide_are_refused(source):
    put_clips(source, "00001")
    (source / "x.list").write_text("".join(f"{name}.mp4\n" for name in FOLDERS))
    with pytest.raises(UserError, match=r"id1/a/00001\.mp4 and id2/b/00001\.mp4, which would be one clip"):
        published_clips(source)


def test_a_listed_folder_is_never_another(source):
    """Of a clip that is missing, the namesake in another folder is not taken."""
    put_clips(source, FOLDERS[0])
    (source / "x.list").write_text(f"{FOLDERS[1]}.mp4\n")
    ((clip,), _) = published_clips(source)
    assert not clip.video.exists()


@pytest.mark.parametrize("front", ["recrop_faces", "./", "/data/vox/recrop_faces"])
def test_folders_in_front_do_not_matter(source, front):
    put_clips(source, *FOLDERS, "1")
    (source / "x.list").write_text("".join(f"{front}/{name}.mp4\n" for name in ("1", *FOLDERS)) + "1\n1\n")
    assert names(source) == ["1", *FOLDERS]
    assert notes(source) == ["Not taken: lines of x.list that name a clip again (2): 1, 1."]


def test_a_listed_name_without_folder_means_one_clip(source):
    put_clips(source, FOLDERS[0])
    (source / "x.list").write_text("00001.mp4\n")
    assert names(source) == [FOLDERS[0]]
    put_clips(source, FOLDERS[1])
    with pytest.raises(UserError, match=f"there are {FOLDERS[0]}, {FOLDERS[1]}"):
        published_clips(source)


@pytest.mark.parametrize("line", ["john smith.mp4", "john.smith.mp4", "john.smith"])
def test_a_listed_name_is_never_cut_to_another(source, line):
    put_clips(source, "john")
    (source / "x.list").write_text(f"{line}\n")
    ((clip,), _) = published_clips(source)
    assert not clip.video.exists()


def test_lists_say_what_they_leave_out_and_what_they_name_twice(source):
    put_clips(source, *(f"clip{number}" for number in range(10)))
    (source / "a.list").write_text("clip3.mp4 0 48\nclip2\n")
    (source / "b.LIST").write_text("recrop_faces/clip3.mp4\n")
    assert names(source) == ["clip3", "clip2"]
    assert notes(source) == [
        "Not taken: videos that are not in a.list, b.LIST (8): "
        "clip0.mp4, clip1.mp4, clip4.mp4, clip5.mp4, clip6.mp4 and 3 more.",
        "Not taken: lines of a.list, b.LIST that name a clip again (1): recrop_faces/clip3.mp4.",
    ]


# --- Cameras ----------------------------------------------------------------------------------------------------------

PATH = Path("anna.json")


@pytest.mark.parametrize("form", ["{:05d}.png", "{}.png", "{}", "id7/frame_{:d}_of_20.jpg"])
@pytest.mark.parametrize("first", [0, 1, 4711])
def test_cameras_are_ordered_by_their_frames_numbers(form, first):
    shuffled = np.random.default_rng(0).permutation(20)
    order = frame_order([form.format(number + first) for number in shuffled], PATH)
    assert shuffled[order].tolist() == list(range(20))


@pytest.mark.parametrize("name", ["00000.png", "1", "clip7_0.png"])
def test_one_camera_is_that_of_the_one_frame(name):
    assert frame_order([name], PATH) == [0]


@pytest.mark.parametrize(
    ("numbered", "reason"),
    [
        (["0.png", "1.png", "01.png"], r"two cameras of frame 1 \(1.png and 01.png\)"),
        (["3.png", "0.png", "1.png"], r"no camera of frame 2 \(between 1.png and 3.png\)"),
        (["a", "b", "c"], r"\(a, b, c\) do not say which frame is whose"),
        (["0_1.png", "1_2.png"], "do not say which frame"),
        (["x", "x"], "do not say which frame"),
    ],
)
def test_cameras_that_cannot_be_told_apart_are_refused(numbered, reason):
    with pytest.raises(UserError, match=f"anna.json.*{reason}"):
        frame_order(numbered, PATH)
