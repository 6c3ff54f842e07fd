"""A test that takes `path` runs twice: on the plain PyTorch path, and on the kernels' source compiled for the host."""

import pytest

from tests.helpers import host_kernels


@pytest.fixture(params=["native", "kernel"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "kernel":
        host_kernels.use(monkeypatch, host_kernels.host_library())
    return request.param
