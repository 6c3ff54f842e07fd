"""A stand-in for wandb, which keeps what it is given."""

from typing import Any


class Run:
    """In place of the library's run: keeps what it is given."""

    def __init__(self, given: dict[str, Any]):
        self.given = given
        self.url = "https://example.org/run"
        self.offline = False
        self.metrics: list[tuple[str, str | None]] = []
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.finished = False

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics.append((name, step_metric))

    def log(self, values: dict[str, Any], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True


class Library:
    """In place of the library: what of it is used.

    Args:
        logged_in: whether it knows a user.
        error: what `init` raises; None: it gives a run.
    """

    class Settings:
        def __init__(self, **given: Any):
            self.__dict__.update(given)
            self.mode = "online"
            self.settings = self

    def __init__(self, *, logged_in: bool = True, error: BaseException | None = None):
        self.logged_in = logged_in
        self.error = error
        self.runs: list[Run] = []
        self.asked = False

    def setup(self) -> Any:
        return self.Settings()

    def login(self, *, prompt: bool, verify: bool) -> bool:
        self.asked = prompt
        return self.logged_in

    def init(self, **given: Any) -> Run:
        if self.error is not None:
            raise self.error
        self.runs.append(Run(given))
        return self.runs[-1]

    def Image(self, path: str) -> tuple[str, str]:
        return "image", path

    def Video(self, path: str) -> tuple[str, str]:
        return "video", path
