"""dnnlib.files: a file is whole or absent, and the user learns what is wrong with a path."""

import errno
import os
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from dnnlib.files import atomic_path, read_json, require_file, write_json


def entries(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_atomic_path_replaces_and_makes_folders(tmp_path):
    target = tmp_path / 'new' / 'a.bin'
    for content in (b'one', b'two'):
        with atomic_path(target) as temporary:
            assert temporary.parent == target.parent and temporary.suffix == '.bin'
            temporary.write_bytes(content)
        assert target.read_bytes() == content
    assert entries(target.parent) == ['a.bin']


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt, SystemExit])
def test_atomic_path_keeps_the_old_file_when_interrupted(tmp_path, error):
    target = tmp_path / 'a.bin'
    target.write_bytes(b'old')
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_bytes(b'half')
        raise error
    assert target.read_bytes() == b'old'
    assert entries(tmp_path) == ['a.bin']


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_a_user_error(tmp_path, number):
    with pytest.raises(UserError, match='No space left to write .*a.bin'), atomic_path(tmp_path / 'a.bin') as temporary:
        temporary.write_bytes(b'half')
        raise OSError(number, os.strerror(number))
    assert entries(tmp_path) == []


def test_other_os_errors_pass_through(tmp_path):
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / 'a.bin'):
        raise OSError(errno.EIO, 'input/output error')
    assert caught.value.errno == errno.EIO


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='Cannot write'), atomic_path(tmp_path / 'file' / 'a.bin'):
        pass


def test_json_round_trip(tmp_path):
    value = {'name': 'Zoë', 'list': [1, 2.5, None, True]}
    write_json(tmp_path / 'a.json', value)
    assert read_json(tmp_path / 'a.json') == value
    assert entries(tmp_path) == ['a.json']


def test_json_that_is_wrong(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        read_json(tmp_path / 'absent.json')
    (tmp_path / 'a.json').write_text('{"half": ')
    with pytest.raises(UserError, match='not valid JSON'):
        read_json(tmp_path / 'a.json')
    (tmp_path / 'b.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(UserError, match='not valid JSON'):
        read_json(tmp_path / 'b.json')
    with pytest.raises(ValueError):
        write_json(tmp_path / 'c.json', float('nan'))
    assert not (tmp_path / 'c.json').exists()


def test_require_file(tmp_path):
    with pytest.raises(UserError, match='snapshot .* is a folder'):
        require_file(tmp_path, 'snapshot')
    (tmp_path / 'x').write_text('')
    assert require_file(str(tmp_path / 'x'), 'snapshot') == tmp_path / 'x'
