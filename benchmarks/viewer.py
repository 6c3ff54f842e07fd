"""How fast the viewer is: pictures a second while somebody drags, and how soon there is a first one.

    python benchmarks/viewer.py --network models/heads.pkl
    python benchmarks/viewer.py --cfg voxceleb

A server is started in this process, and asked over HTTP as its page does: two requests are under way at a time. Where
others use the machine too, processor time says more than the clock; both are of all threads of this process, so that
the few milliseconds that the asking takes are in them.
"""

import http.client
import json
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

started = time.perf_counter()
import click  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib import openmp  # noqa: E402, F401  (before torch)

# isort: split
import torch  # noqa: E402

torch_was_there = time.perf_counter()
import pv3d  # noqa: E402
from dnnlib import cli  # noqa: E402
from torch_utils import runtime  # noqa: E402
from torch_utils.machine_options import machine_options  # noqa: E402
from torch_utils.startup import Machine, prepared_machine  # noqa: E402
from training import config  # noqa: E402
from training.checkpoints import sources  # noqa: E402
from training.checkpoints.snapshots import Snapshot  # noqa: E402
from training.networks.generator import Generator  # noqa: E402
from viewer.models import Load, located  # noqa: E402
from viewer.server import ViewerServer  # noqa: E402
from viewer.serving import answering, loader, running  # noqa: E402

UNDER_WAY = 2  # requests of a page at a time
SETTLING = 12  # pictures until the number of rays is found
DEGREES = 1.5  # that the camera turns between two pictures
LAYERS = ("rgb", "depth,normals", "shape")


@dataclass
class Asker:
    """A page without a page."""

    server: ViewerServer
    seen: Counter = field(default_factory=Counter)

    def picture(self, number: int, layers: str = "rgb", moving: bool = True, time: float = 0.0) -> None:
        """Ask for a picture, of a camera that turns with its number."""
        wish = {
            "client": "benchmark",
            "panel": 0,
            "scene": {
                **{"first": {"seed": 0}, "second": None, "blend": 0, "motion": 0, "time": time, "truncation": 1},
            },
            "camera": {"yaw": (DEGREES * number) % 60 - 30, "pitch": 0, "zoom": 1},
            "layers": layers.split(","),
            "moving": moving,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        connection.request("POST", "/api/frame", json.dumps(wish), {"Authorization": f"Bearer {self.server.token}"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status == http.HTTPStatus.NO_CONTENT:  # a newer one took its place
            return
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(body.decode())
        about = json.loads(answer.headers["X-Frame"])
        self.seen[about["rays"]] += 1

    def first(self) -> None:
        """Ask until there is a first picture."""
        while True:
            try:
                return self.picture(0, moving=False)
            except RuntimeError as error:
                if "loading" not in str(error):
                    raise
                time.sleep(0.01)


def random_loader(cfg: str, machine: Machine) -> Load:
    """Return what gives a model of random weights, whatever the path."""

    def load(_: Path) -> pv3d.Model:
        options = config.preset(cfg)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            G = Generator(options.generator).requires_grad_(False).eval().to(machine.device)
        G.precision = machine.dtype
        return pv3d.Model(Snapshot(G=G, config=options, camera_bank=torch.empty(0, 1, 25), progress={}, notes=()))

    return load


def measured(asker: Asker, pictures: int, layers: str, plays: bool) -> str:
    """Return a line about so many moving pictures."""

    def ask(number: int) -> None:
        asker.picture(number, layers, time=number / 1000 if plays else 0.0)

    for number in range(SETTLING):
        ask(number)
    asker.seen.clear()
    clock, processor = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(UNDER_WAY) as page:
        list(page.map(ask, range(SETTLING, SETTLING + pictures)))
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    pictures = asker.seen.total()
    rays = ", ".join("full" if side is None else f"{side} x {side} rays" for side in asker.seen)
    what = f"{layers}, {'time plays' if plays else 'dragged'}"
    return (
        f"{what:28s} {pictures / clock:7.1f} pictures/s, processor {1e3 * processor / pictures:7.1f} ms each ({rays})"
    )


@cli.command()
@cli.option("--network", type=cli.SOURCE, default="heads", help=sources.HELP)
@cli.option("--cfg", type=click.Choice(sorted(config.PRESETS)), help="In its place: random weights of a preset.")
@cli.option("--pictures", type=click.IntRange(1), default=100, help="Pictures of each measurement.")
@machine_options("device", "ops", "precision", "threads")
def main(
    network: str, cfg: str | None, pictures: int, device: str, ops: str, precision: str, threads: int | None
) -> None:
    """Measure the viewer: first picture, and pictures a second while the camera moves or time plays."""
    with prepared_machine(device=device, ops=ops, precision=precision, threads=threads) as machine:
        path = located("heads" if cfg else network)
        load = loader(machine) if cfg is None else random_loader(cfg, machine)
        click.echo(f"load average {os.getloadavg()[0]:.1f}, {torch.get_num_threads()} threads, {cfg or network}")
        asked = time.perf_counter()
        with running([path], load) as server, answering(server):
            asker = Asker(server)
            asker.first()
            first = time.perf_counter()
            click.echo(f"first picture {first - asked:.2f} s after the start of the server")
            click.echo(f"first picture {first - torch_was_there:.2f} s after the import of torch")
            asked = time.perf_counter()
            asker.picture(1, moving=False)
            click.echo(f"still picture {1e3 * (time.perf_counter() - asked):.0f} ms")
            for layers in LAYERS if cfg is None else LAYERS[:-1]:  # random heads have no surface
                click.echo(measured(asker, pictures, layers, plays=False))
            click.echo(measured(asker, pictures, "rgb", plays=True))
        click.echo(f"peak memory {runtime.peak_memory(machine.device)['cpu']:.2f} GB")
        click.echo(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
