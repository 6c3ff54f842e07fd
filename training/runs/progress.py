"""How far a run is: clips, iterations, seconds."""

from dataclasses import dataclass


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
