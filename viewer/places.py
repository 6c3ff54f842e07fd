"""Where the viewer listens, and how many models have a place on its page."""

LOCAL = "127.0.0.1"
USUAL_PORT = 8123
MAX_PANELS = 4  # models side by side: a browser keeps six connections to a server
