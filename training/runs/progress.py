"""How far a run is: clips, iterations, seconds; and what a status line says of it."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Progress:
    """How far training is."""

    clips: int = 0  # shown to the discriminators, over all processes
    iteration: int = 0
    seconds: float = 0.0  # of training in all, over all starts
    inherited: int = 0  # clips behind the snapshot that the weights came from

    @property
    def kimg(self) -> float:
        """Thousands of clips."""
        return self.clips / 1000

    @property
    def seen(self) -> int:
        """Clips that schedules count: a run that starts from a snapshot does not fade in again."""
        return self.clips + self.inherited


@dataclass(kw_only=True)
class Status:
    """The contents of one status line."""

    progress: Progress
    stats: dict[str, float]  # means since the last status
    warnings: list[str] = field(default_factory=list)  # about what has begun to go wrong
    done: bool = False
