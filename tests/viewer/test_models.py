"""Models on the disk: replaced and new snapshots are picked up, broken ones are said and change nothing."""

import os
import shutil

import pytest

from dnnlib.errors import UserError
from tests.helpers import tiny
from tests.helpers.browser import waited
from tests.helpers.viewing import pv3d_load, viewer
from training.checkpoints.snapshots import save_snapshot
from viewer.models import Panel, located


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A snapshot of other weights."""
    options = tiny.config()
    path = tmp_path_factory.mktemp("other") / "other.pkl"
    save_snapshot(path, options, tiny.networks(options, noise=0.7), tiny.labels(0, 1, 2), {"kimg": 1.0})
    return path


def replace_by(path, source) -> None:
    """Replace a file as training does, in one step."""
    temporary = path.with_name("temporary")
    shutil.copy(source, temporary)
    os.replace(temporary, path)


def test_a_replaced_snapshot_is_picked_up(tmp_path, snapshot, other):
    path = tmp_path / "network.pkl"
    shutil.copy(snapshot, path)
    with viewer(path) as asker:
        waited(lambda: asker.state()["panels"][0]["version"] == 1, "the model")
        before = asker.frame()
        replace_by(path, other)
        waited(lambda: asker.state()["panels"][0]["version"] == 2, "the new model")
        after = asker.frame()
        assert (before.about["version"], after.about["version"]) == (1, 2)
        assert before.body != after.body
        replace_by(path, snapshot)
        waited(lambda: asker.state()["panels"][0]["version"] == 3, "the first one again")
        assert asker.frame().body == before.body


def test_the_newest_snapshot_of_a_run_is_followed(tmp_path, snapshot, other):
    with viewer(tmp_path) as asker:
        waited(lambda: "as soon as it is there" in asker.state()["panels"][0]["problem"], "the folder to be looked at")
        refused = asker.frame()
        assert refused.status == 400 and "without snapshots" in refused.json["error"]
        shutil.copy(snapshot, tmp_path / "network-snapshot-000009.000.pkl")
        waited(lambda: asker.state()["panels"][0]["version"] == 1, "the first snapshot")
        first = asker.frame().body
        replace_by(tmp_path / "network-snapshot-000010.000.pkl", other)
        waited(lambda: asker.state()["panels"][0]["version"] == 2, "the second snapshot")
        about = asker.state()["panels"][0]
        assert about["name"].endswith("/network-snapshot-000010.000.pkl") and about["problem"] == ""
        assert asker.frame().body != first


def test_a_broken_snapshot_ends_nothing(tmp_path, snapshot, other):
    path = tmp_path / "network-snapshot-000001.000.pkl"
    shutil.copy(snapshot, path)
    with viewer(tmp_path) as asker:
        waited(lambda: asker.state()["panels"][0]["version"] == 1, "the model")
        before = asker.frame().body
        half = tmp_path / "network-snapshot-000002.000.pkl"
        half.write_bytes(other.read_bytes()[:20000])
        waited(lambda: "damaged" in asker.state()["panels"][0]["problem"], "the problem")
        about = asker.state()["panels"][0]
        assert about["version"] == 1 and about["status"] == "ready" and asker.frame().body == before
        half.write_bytes(other.read_bytes())  # the rest of it comes
        waited(lambda: asker.state()["panels"][0]["version"] == 2, "the whole file")
        assert asker.state()["panels"][0]["problem"] == ""


def test_several_models_stand_side_by_side(snapshot, other):
    with viewer(snapshot, other) as asker:
        waited(lambda: all(panel["version"] for panel in asker.state()["panels"]), "both models")
        first, second = (asker.frame(panel=number).body for number in (0, 1))
        assert first != second
        missing = asker.frame(panel=2)
        assert missing.status == 400 and "no such model" in missing.json["error"]


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path, snapshot, other):
    path = tmp_path / "network.pkl"
    shutil.copy(snapshot, path)
    panel = Panel(path=path)

    def load_and_change(file):
        model = pv3d_load(file)
        replace_by(path, other)
        return model

    assert not panel.look(load_and_change) and panel.version == 0
    assert panel.look(pv3d_load) and panel.version == 1
    assert not panel.look(pv3d_load) and panel.version == 1, "once"


def test_a_fault_of_ours_is_said_and_ends_nothing(tmp_path, snapshot, capsys):
    panel = Panel(path=snapshot)

    def fail(file):
        raise RuntimeError("out of memory")

    assert not panel.look(fail)
    assert "could not be loaded (RuntimeError)" in panel.problem and "out of memory" in capsys.readouterr().err
    assert not panel.look(pv3d_load), "not again while the file is the same"


def test_where_models_are(tmp_path, snapshot):
    assert located("heads").name == "heads.pkl" and located(str(snapshot)) == snapshot
    with pytest.raises(UserError, match="neither a snapshot"):
        located(str(tmp_path / "nothing"))
    assert located(str(tmp_path)) == tmp_path
    with pytest.raises(UserError, match="has no best-snapshot.pkl"):
        located(str(tmp_path / "best"))
    best = tmp_path / "best-snapshot.pkl"
    best.touch()
    assert located(str(tmp_path / "best")) == best
