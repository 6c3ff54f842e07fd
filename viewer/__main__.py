"""python -m viewer: see `viewer.command`."""

from viewer.command import main

if __name__ == "__main__":
    main(prog_name="python -m viewer")
