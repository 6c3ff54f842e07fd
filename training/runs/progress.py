"""How far a run is: clips, iterations, seconds."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Progress:
    """How far training is."""

    clips: int = 0  # shown to the discriminators, over all processes
    iteration: int = 0
    seconds: float = 0.0  # of training in all, over all starts
    inherited: int = 0  # clips behind the snapshot that the weights came from
    # Where this run begins in the random streams of its seed: behind all that those weights were trained on.
    stream_start: int = 0

    @property
    def kimg(self) -> float:
        """Thousands of clips."""
        return self.clips / 1000

    @property
    def seen(self) -> int:
        """Clips that schedules count: a run that starts from a snapshot does not fade in again."""
        return self.clips + self.inherited

    @property
    def stream_clips(self) -> int:
        """The number of the next clip in the stream of training pairs."""
        return self.stream_start + self.clips

    @property
    def stream_iteration(self) -> int:
        """The number of the next iteration in the streams of fakes.

        An iteration takes a clip at least, so none behind the weights had as high a number.
        """
        return self.stream_start + self.iteration

    def of_snapshot(self) -> dict[str, float]:
        """Return what a snapshot of this moment says: `stream_kimg` only where --init-kimg was less than that."""
        counts = {"kimg": self.seen / 1000}
        if self.stream_clips > self.seen:
            counts["stream_kimg"] = self.stream_clips / 1000
        return counts
