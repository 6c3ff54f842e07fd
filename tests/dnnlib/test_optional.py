"""dnnlib.optional: packages that are missing, or broken in any way, are named with the cure."""

import sys

import pytest

from dnnlib.errors import UserError
from dnnlib.optional import optional_packages


def missing():
    import no_such_package_of_anyone  # noqa: F401


def protobuf():
    raise TypeError("Descriptors cannot be created directly.\nIf this call came from a _pb2.py file, ...")


def numpy_abi():
    raise ValueError("numpy.dtype size changed")


def gives_up():
    sys.exit("This CPU is not supported.")


@pytest.mark.parametrize(
    "imported, reason",
    [
        (missing, r"ModuleNotFoundError: No module named 'no_such_package_of_anyone'"),
        (protobuf, r"TypeError: Descriptors cannot be created directly. If this call came from a _pb2.py file, ..."),
        (numpy_abi, "ValueError: numpy.dtype size changed"),
        (gives_up, "SystemExit: This CPU is not supported."),
    ],
)
def test_a_sentence_names_the_reason_and_the_cure(imported, reason):
    with pytest.raises(UserError) as caught, optional_packages("Meshes", "scikit-image"):
        imported()
    assert str(caught.value) == f"Meshes need packages that do not import ({reason}): `pip install scikit-image`."


def test_what_imports_is_there():
    with optional_packages("Tests", "nothing"):
        import json
    assert json is sys.modules["json"]
