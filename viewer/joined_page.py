"""The page: its sources, beside this file, joined into one that needs nothing from anywhere."""

import base64
import hashlib
from pathlib import Path

SOURCES = Path(__file__).parent / "page"
SCRIPTS = ("server.js", "pictures.js", "cameras.js", "controls.js", "saving.js", "main.js")  # in this order


class Page:
    """The joined page, and the policy that lets browsers run nothing else in it."""

    def __init__(self) -> None:
        style = (SOURCES / "page.css").read_text(encoding="utf-8")
        script = "\n".join((SOURCES / name).read_text(encoding="utf-8") for name in SCRIPTS)
        frame = (SOURCES / "index.html").read_text(encoding="utf-8")
        self.html = frame.replace("/* STYLE */", style).replace("/* SCRIPT */", script)
        self.policy = (
            f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src blob: data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def content(self) -> bytes:
        """Return the page as bytes."""
        return self.html.encode()


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
