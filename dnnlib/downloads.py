"""Downloads: what is at an address, piece by piece: counted, bounded, with one exception for whatever goes wrong."""

import http.client
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator
from typing import Any

from dnnlib.files import PIECE_BYTES
from dnnlib.progress import Counter

TIMEOUT = 30  # seconds that a server may keep silent


class _Guarded(urllib.request.HTTPRedirectHandler):
    """Follows redirections to addresses of some schemes only."""

    def __init__(self, schemes: Collection[str]):
        self.schemes = schemes

    def redirect_request(self, request: Any, file: Any, code: Any, message: Any, headers: Any, url: str) -> Any:
        """Return the request that follows a redirection. EOFError if its address has another scheme."""
        require_scheme(url, self.schemes)
        return super().redirect_request(request, file, code, message, headers, url)


def require_scheme(url: str, schemes: Collection[str]) -> None:
    """Raise EOFError unless an address has one of these schemes."""
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme not in schemes:
        raise EOFError(f"{scheme or 'no scheme'} in place of {' or '.join(schemes)}")


def pieces(
    url: str, label: str, *, schemes: Collection[str] | None = None, most_bytes: int | None = None
) -> Iterator[bytes]:
    """Yield the content of an address, its bytes counted on standard error.

    Args:
        label: what to call it there.
        schemes: such as https, of the address and of all that it redirects to; None: any.
        most_bytes: that it may have; None: any number.

    Raises:
        EOFError: nothing comes, too much, or less than was announced; a scheme is none of `schemes`.
    """
    try:
        with _opened(url, schemes) as answer:
            length = answer.headers.get("Content-Length")
            total = int(length) if length else None
            _require_size(total or 0, most_bytes)
            with Counter(total, title=label, unit="B", scaled=True, leave=False) as counter:
                while piece := answer.read(PIECE_BYTES):
                    _require_size(counter.n + len(piece), most_bytes)
                    yield piece
                    counter.update(len(piece))
                if total not in (None, counter.n):
                    raise EOFError(f"{counter.n} of {total} bytes came")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EOFError(str(getattr(error, "reason", None) or error)) from error


def _opened(url: str, schemes: Collection[str] | None) -> Any:
    if schemes is None:
        return urllib.request.urlopen(url, timeout=TIMEOUT)
    require_scheme(url, schemes)
    return urllib.request.build_opener(_Guarded(schemes)).open(url, timeout=TIMEOUT)


def _require_size(size: float, most_bytes: int | None) -> None:
    if most_bytes is not None and size > most_bytes:
        raise EOFError(f"it has more than {most_bytes / 2**20:.3g} MiB")
