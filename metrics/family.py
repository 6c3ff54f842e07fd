"""Metrics that are computed together, of one subject."""

from collections.abc import Iterator, Sequence

from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import Request
from metrics.results import Result


class MetricFamily:
    """Metrics that share their work: `kinds` names them."""

    kinds: tuple[str, ...]

    def __init__(self, subject: EvaluationSubject, options: EvaluationOptions):
        self.subject = subject
        self.options = options

    def check(self, requests: Sequence[Request]) -> None:
        """Load the detectors; raise UserError where something is missing."""
        raise NotImplementedError

    def results(self, requests: Sequence[Request]) -> Iterator[Result]:
        """Yield a result for each request. Every process must go through all of them."""
        raise NotImplementedError
