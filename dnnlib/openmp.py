"""How long OpenMP's threads spin before they sleep. Import it before torch, which loads OpenMP.

GNU's OpenMP spins for milliseconds. On a machine whose cores are busy with something else, a thread that spins holds
the core that the one it waits for needs. Measured on 2 cores, one of them busy: 32 frames of the demo in 13 s, not 130.
On a quiet machine training is 3 % slower with it.
"""

import os

SPIN_COUNT = 10_000

if "OMP_WAIT_POLICY" not in os.environ:  # the user's own choice
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
