"""`pv3d`: one command for all scripts, each imported when it is asked for; their options do without torch."""

import copy

import click

from dnnlib import cli
from dnnlib.lazy import found
from pv3d.version import version

# Where the command of each name is, module:function: above this package, so it is imported only when it is asked for.
COMMANDS = {
    "train": "train:main",
    "videos": "gen_videos:main",
    "edit": "edit_videos:main",
    "metrics": "calc_metrics:main",
    "data": "dataset_tool:main",
    "checkpoint": "checkpoint_tool:main",
    "view": "viewer.command:main",
    "doctor": "pv3d.doctor:main",
    "demo": "demo:main",
}


def name_of(script: str) -> str:
    """Return the name of the command that a script at the root is, such as videos of gen_videos.py."""
    (name,) = [name for name, place in COMMANDS.items() if f"{place.partition(':')[0]}.py" == script]
    return name


class Commands(cli.Group):
    """The commands of COMMANDS."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return all names, in the order in which they are shown."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command, whose help names it as it is called here; None if there is none of this name."""
        place = COMMANDS.get(name)
        return None if place is None else renamed(found(place), place.partition(":")[0], name)


def renamed(command: click.Command, script: str, name: str) -> click.Command:
    """Return a script's command, or one of its group, as `pv3d` has it: examples call `pv3d <name>`."""
    own = copy.copy(command)
    if own.help is not None:
        own.help = own.help.replace(f"python {script}.py", f"pv3d {name}").replace(f"{script}.py", f"-m pv3d {name}")
    if isinstance(own, click.Group):
        own.commands = {member: renamed(inner, script, name) for member, inner in own.commands.items()}
    return own


def print_version(context: click.Context, parameter: click.Parameter, is_asked: bool) -> None:
    """Print the version, and end."""
    if is_asked and not context.resilient_parsing:
        click.echo(f"pv3d {version()}")
        context.exit()


@click.group(cls=Commands, context_settings=cli.CONTEXT_SETTINGS)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """PV3D: a generative model of portrait videos that learns 3D from ordinary clips.

    \b
    pv3d videos --network=heads --outdir=out --seeds=0-3 --cameras=orbit
    pv3d train --outdir=runs --cfg=demo --data=heads.zip

    --network=heads is the shipped model. What is wrong on this machine: pv3d doctor. Shells complete commands and
    options after

    \b
    eval "$(_PV3D_COMPLETE=bash_source pv3d)"         in ~/.bashrc
    eval "$(_PV3D_COMPLETE=zsh_source pv3d)"          in ~/.zshrc
    _PV3D_COMPLETE=fish_source pv3d | source          in ~/.config/fish/config.fish
    """
