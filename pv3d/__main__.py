"""The command `pv3d`, and `python -m pv3d`."""

import sys

from pv3d import shadowing


def main() -> None:
    """Run the command, unless what it would import is another project's."""
    fault = shadowing.fault(shadowing.MODULES)
    if fault is not None:
        sys.stderr.write(f"Error: {fault}\n")
        sys.exit(2)
    from pv3d.command import main as command  # which imports ours

    command()


if __name__ == "__main__":
    main()
