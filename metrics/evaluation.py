"""An evaluation: metrics asked for, on a snapshot or on files, against a dataset; every number as a `Result`."""

from collections.abc import Iterator, Sequence

from metrics.controls import Controls
from metrics.family import MetricFamily
from metrics.fvd import VideoDistances
from metrics.multiview_scores import MultiviewScores
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import Request
from metrics.results import Result
from torch_utils import distributed

FAMILIES: tuple[type[MetricFamily], ...] = (VideoDistances, MultiviewScores, Controls)


def evaluate(requests: Sequence[Request], subject: EvaluationSubject, options: EvaluationOptions) -> Iterator[Result]:
    """Yield results as they are finished, family by family. Every process must go through all of them.

    Raises:
        UserError: what a metric needs is missing; before any work.
    """
    for family, wanted in prepare(requests, subject, options):
        yield from family.results(wanted)


def prepare(
    requests: Sequence[Request], subject: EvaluationSubject, options: EvaluationOptions
) -> list[tuple[MetricFamily, list[Request]]]:
    """Return the families with what is asked of each, their detectors loaded.

    Raises:
        UserError: what a metric needs is missing; on every process.
    """
    work = []
    for family_class in FAMILIES:
        wanted = [request for request in requests if request.kind in family_class.kinds]
        work.append((family_class(subject, options), wanted))
    with distributed.fail_together():
        for family, wanted in work:
            family.check(wanted)
    return work
