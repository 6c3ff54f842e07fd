"""training.data.files: names as people write them, the same for folder, zip, reader and check."""

import os
import re
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from tests.helpers.dataset_command import run
from tests.helpers.noise import edit_index, noise_clip
from training.data.dataset import ClipDataset
from training.data.frames import decode_frame

ROOT = Path(__file__).parents[3]
NUMBER = 5  # of the frame that each test is about
FRAME = f"00001/{NUMBER:05d}.png"
COMPOSED = unicodedata.normalize("NFC", "Zoë/é5.png")
APART = unicodedata.normalize("NFD", COMPOSED)


def zipped(folder: Path, rename: Callable[[str], str] = str) -> Path:
    """Return a folder as a zip, its members renamed."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            if file.is_file():
                item = zipfile.ZipInfo()
                item.filename = rename(file.relative_to(folder).as_posix())
                archive.writestr(item, file.read_bytes())
    return path


def relist(folder: Path, name: str) -> None:
    """List the frame under another name."""

    def change(index: dict) -> None:
        labels = dict(index["labels"])
        index["labels"] = [[name if listed == FRAME else listed, label] for listed, label in labels.items()]

    edit_index(folder, change)


def found(path: Path) -> int:
    """Read all frames through the dataset; return how many of clip 1 are among them."""
    dataset = ClipDataset(path)
    wanted = {decode_frame(data).tobytes() for _, data in noise_clip(1, 16).frames}
    places = [(index, number) for index, clip in enumerate(dataset.clips) for number in range(len(clip.frames))]
    return len(wanted & {dataset.read_frame(*place).tobytes() for place in places})


def broken(path: Path) -> list[str]:
    """Return what `check` finds to be broken."""
    return re.findall("broken: .*", run("check", path, "--workers", 1).output)


# --- Names that differ in their spelling ------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [f"./{FRAME}", FRAME.replace("/", "//"), FRAME.replace("/", "/./")])
def test_paths_are_compared_in_their_plain_form(folder, listed):
    expected = [clip.frames for clip in ClipDataset(folder).clips]
    relist(folder, listed)
    edit_index(folder, lambda index: index["clips"].update({"./00001/": index["clips"].pop("00001")}))
    for path in (folder, zipped(folder), zipped(folder, lambda name: f"./{name}")):
        dataset = ClipDataset(path)
        assert [clip.frames for clip in dataset.clips] == expected
        assert dataset.clips[1].fps == 30
        assert found(path) == 16
        assert broken(path) == []


READ = """
import sys
from pathlib import Path
from training.data.files import FolderFiles
files = FolderFiles(Path(sys.argv[1]))
print([(ascii(name), len(files.read(name)), files.size(name)) for name in [*files.names(), "Zo\\u00eb/\\u00e95.png"]])
"""


@pytest.mark.parametrize("stored", [COMPOSED, APART])
def test_an_ascii_locale_reads_the_same_names(tmp_path, stored):
    (tmp_path / stored).parent.mkdir()
    (tmp_path / stored).write_bytes(b"123")
    done = subprocess.run(
        [sys.executable, "-c", READ, tmp_path],
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{[(ascii(COMPOSED), 3, 3)] * 2}\n", done.stderr


@pytest.mark.parametrize("listed", [COMPOSED, APART])
@pytest.mark.parametrize("stored", [COMPOSED, APART, APART.split("/")[0] + "/" + COMPOSED.split("/")[1]])
def test_accents_may_be_composed_or_not(folder, listed, stored):
    """As macOS stores names, or as everybody else does."""
    relist(folder, listed)
    (folder / stored).parent.mkdir()
    (folder / FRAME).rename(folder / stored)
    edit_index(folder, lambda index: index["clips"].update({unicodedata.normalize("NFD", "Zoë"): {"fps": 50}}))
    for path in (folder, zipped(folder)):
        dataset = ClipDataset(path)
        assert (dataset.clips[-1].frames, dataset.clips[-1].fps) == ((COMPOSED,), 50.0)
        assert found(path) == 16
        assert broken(path) == []
    assert ClipDataset(folder).fingerprint() == ClipDataset(zipped(folder)).fingerprint()


def test_names_of_zips_made_by_macos(folder):
    """They are in UTF-8, with accents apart, and the flag that says so is missing."""
    relist(folder, COMPOSED)
    raw = APART.encode()
    stand_in = "Q" * len(raw)
    path = zipped(folder, lambda name: stand_in if name == FRAME else name)
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), raw))
    with zipfile.ZipFile(path) as archive:
        assert APART not in archive.namelist(), "Python cannot know"
    assert found(path) == 16
    assert broken(path) == []


def test_two_spellings_of_one_name_in_a_zip_are_refused(folder):
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        for name in (COMPOSED, APART):
            archive.writestr(name, b"")
    with pytest.raises(UserError, match="2 times"):
        ClipDataset(path)


# --- Names that are refused, and why ----------------------------------------------------------------------------------


def test_a_colon_is_a_character_like_others(folder):
    name = "00001/12:05.png"
    relist(folder, name)
    (folder / FRAME).rename(folder / name)
    for path in (folder, zipped(folder)):
        assert found(path) == 16
        assert broken(path) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("C:x.png", "begins as a drive's name"),
        ("a\\b.png", "backslash"),
        ("/x.png", "begins with a slash"),
        ("a/../../x.png", "leads outside"),
        ("a\x1b.png", "unprintable"),
        ("x" * 2000, "more than 1024 characters"),
        ("", "empty"),
    ],
)
def test_a_refused_name_hears_why(folder, name, reason):
    relist(folder, name)
    with pytest.raises(UserError, match=reason):
        ClipDataset(folder)
    (line,) = [line for line in broken(folder) if "unsafe path" in line]
    assert reason in line


# --- Links ------------------------------------------------------------------------------------------------------------


def link_frame_inside(folder: Path) -> None:
    (folder / FRAME).rename(folder / "kept.txt")
    (folder / FRAME).symlink_to("../kept.txt")


def link_clip_inside(folder: Path) -> None:
    (folder / "00001").rename(folder / ".kept")
    (folder / "00001").symlink_to(".kept")


@pytest.mark.parametrize("link", [link_frame_inside, link_clip_inside])
def test_links_inside_are_followed(folder, link):
    link(folder)
    assert found(folder) == 16
    assert broken(folder) == []


def link_frame_outside(folder: Path) -> None:
    (folder / FRAME).rename(folder.parent / "outside.png")
    (folder / FRAME).symlink_to("../../outside.png")


def link_clip_outside(folder: Path) -> None:
    (folder / "00001").rename(folder.parent / "outside")
    (folder / "00001").symlink_to("../outside")


def link_nowhere(folder: Path) -> None:
    (folder / FRAME).unlink()
    (folder / FRAME).symlink_to("nowhere")


@pytest.mark.parametrize(
    ("link", "reason", "frames"),
    [
        (link_frame_outside, "a link that leads out of the dataset", 1),
        (link_clip_outside, "a link that leads out of the dataset", 16),
        (link_nowhere, "missing", 1),
    ],
)
def test_links_that_are_refused_hear_one_reason(folder, link, reason, frames):
    link(folder)
    with pytest.raises(UserError, match=reason):
        ClipDataset(folder).read_frame(1, NUMBER)
    lines = broken(folder)
    assert len(lines) == frames
    assert all(reason in line for line in lines)


# --- What is no data, and what is elsewhere ---------------------------------------------------------------------------

LEFTOVERS = ["._dataset.json", f"00001/._{NUMBER:05d}.png", "__MACOSX/00001/00005.png", ".DS_Store", "00001/Thumbs.db"]


def test_leftovers_are_no_part_of_a_dataset(folder):
    before = ClipDataset(folder).fingerprint()
    for name in LEFTOVERS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"left behind")
    for path in (folder, zipped(folder)):
        said = run("check", path, "--workers", 1)
        assert (said.exit_code, "broken" in said.output, "note" in said.output) == (0, False, False)
        assert ClipDataset(path).fingerprint() == before


def test_a_frame_that_is_listed_is_data_whatever_its_name(folder):
    name = f"00001/.{NUMBER:05d}.png"
    relist(folder, name)
    (folder / FRAME).rename(folder / name)
    assert found(folder) == 16
    assert broken(folder) == []


@pytest.mark.parametrize("around", ["my heads", "home/me/my heads"])
def test_a_folder_around_the_content_is_named(folder, around):
    path = zipped(folder, lambda name: f"{around}/{name}")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/dataset.json", b"")
    with pytest.raises(UserError, match=f"a folder around its content .{around}/dataset.json.: zip what is inside"):
        ClipDataset(path)
    os.rename(folder, folder.parent / "my heads")
    with pytest.raises(UserError, match=f"give {folder.parent}/my heads"):
        ClipDataset(folder.parent)
