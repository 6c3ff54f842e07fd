"""Hostile containers of pickles, and files that are no checkpoints at all."""

import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.hostile.outcomes import SHOWN, UNREADABLE, Case, CheckpointOutcome
from tests.hostile.pickle_makers import (
    NAME,
    Content,
    file_of,
    in_zip,
    pickled,
    snapshot_pickle,
    special_file,
    storage,
    tensor,
    torch_zip,
)
from tests.hostile.special_files import link_to
from tests.hostile.zip_makers import DEFLATED, LZMA, Member, bomb, deflated, raw_zip

PICKLE = "archive/data.pkl"
MIB = 2**20


# --- Zips: name, a function that returns the file, what is expected --------------------------------------------------


def good_pickle() -> bytes:
    """Return the pickle of a snapshot that holds nothing."""
    return snapshot_pickle({})


def good_members() -> list[Member]:
    """Return the members of a snapshot that holds nothing."""
    return torch_zip(good_pickle())


def with_pickle(member: Member) -> bytes:
    """Return the zip with another member in place of the pickle."""
    return raw_zip([member, *good_members()[1:]])


def with_entry(**entry: object) -> bytes:
    """Return the zip in which the entry of the pickle says something else of it."""
    return raw_zip(torch_zip(good_pickle(), **entry))


def with_more(*members: Member) -> bytes:
    """Return the zip with more members."""
    return raw_zip([*good_members(), *members])


def renamed(prefix: str) -> bytes:
    """Return the zip whose members' names begin with `prefix`."""
    return raw_zip([member._replace(name=prefix + member.name) for member in good_members()])


def compressed() -> bytes:
    """Return a zip whose pickle is deflated."""
    content = good_pickle()
    return raw_zip([Member(PICKLE, deflated(content), DEFLATED, len(content), zlib.crc32(content))])


def in_lzma() -> bytes:
    """Return a zip whose pickle is compressed by LZMA."""
    return raw_zip(torch_zip(b"\x09\x04\x05\x00\x5d\xff\xff\xff\xff" + good_pickle(), method=LZMA))


def bomb_as_storage() -> bytes:
    """Return a zip whose only storage unpacks to a GiB."""
    content = pickled({"payload": tensor(of=storage(count=2**28), shape=(2**28,))})
    return raw_zip([*torch_zip(content), bomb("archive/data/0")])


def with_byte_order(member: Member) -> bytes:
    """Return a zip of the pickle and this member."""
    return raw_zip([good_members()[0], member])


def overlapping() -> bytes:
    """Return a zip of 2001 members that are the same MiB."""
    padding = b"x" * MIB
    storages = [Member(f"archive/data/{number}", padding, crc=0) for number in range(2000)]
    return raw_zip([Member(PICKLE, padding), *storages], overlap=True)


ZIPS: list[tuple[str, Content, CheckpointOutcome]] = [
    ("bomb as pickle", lambda: with_pickle(bomb(PICKLE)), UNREADABLE),
    ("bomb that tells a small size", lambda: with_pickle(bomb(PICKLE, size=100)), UNREADABLE),
    ("bomb as storage", bomb_as_storage, UNREADABLE),
    ("bomb as byte order", lambda: with_byte_order(bomb("archive/byteorder", size=6)), UNREADABLE),
    ("compressed pickle", compressed, UNREADABLE),
    ("unknown compression", lambda: with_entry(method=99), UNREADABLE),
    ("lzma", in_lzma, UNREADABLE),
    ("encrypted", lambda: with_entry(flags=1), UNREADABLE),
    ("says to be huge", lambda: with_entry(size=2**32 - 2), UNREADABLE),
    ("wrong checksum", lambda: with_entry(crc=1), UNREADABLE),
    ("two of one name", lambda: with_more(Member(PICKLE, b"\x80\x02].")), UNREADABLE),
    ("absolute names", lambda: renamed("/tmp/"), UNREADABLE),
    ("names that go up", lambda: renamed("../../"), UNREADABLE),
    ("one in another", overlapping, UNREADABLE),
    ("other byte order", lambda: with_byte_order(Member("archive/byteorder", b"big")), UNREADABLE),
    ("no pickle", lambda: raw_zip(good_members()[1:]), UNREADABLE),
    ("of a picture", lambda: raw_zip([Member("0.png", b"\x89PNG\r\n")]), UNREADABLE),
    ("unknown storage", lambda: in_zip({"weights": tensor()}), UNREADABLE),
    ("script", lambda: with_more(Member("archive/constants.pkl", b"\x80\x02).")), SHOWN),
]

# --- No checkpoints: name, a function that returns or makes the file, what is expected -------------------------------

FILES: list[tuple[str, Content, CheckpointOutcome]] = [
    ("empty", lambda: b"", UNREADABLE),
    ("text", lambda: b"hello\n", UNREADABLE),
    ("page", lambda: b"<html><body>404</body></html>", UNREADABLE),
    ("P alone", lambda: b"P", UNREADABLE),
    ("PK alone", lambda: b"PK", UNREADABLE),
    ("end of a zip", lambda: b"PK\x05\x06" + bytes(18), UNREADABLE),
    ("zeros", lambda: bytes(100_000), UNREADABLE),
    ("picture", lambda: b"\x89PNG\r\n\x1a\n" + bytes(50), UNREADABLE),
    ("noise", lambda: random.Random(0).randbytes(100_000), UNREADABLE),
    ("zip of noise", lambda: b"PK\x03\x04" + random.Random(1).randbytes(9999), UNREADABLE),
]
SPECIAL_FILES: list[tuple[str, Callable[[Path], object], CheckpointOutcome]] = [
    ("folder", os.mkdir, UNREADABLE),
    ("pipe", os.mkfifo, UNREADABLE),
    ("device", link_to("/dev/zero"), UNREADABLE),
    ("link to nothing", link_to("nothing"), UNREADABLE),
    ("link to itself", link_to(NAME), UNREADABLE),
]

CASES = [
    *(Case(f"zip: {name}", file_of(content), expected) for name, content, expected in ZIPS),
    *(Case(f"file: {name}", file_of(content), expected) for name, content, expected in FILES),
    *(Case(f"file: {name}", special_file(make), expected) for name, make, expected in SPECIAL_FILES),
]
