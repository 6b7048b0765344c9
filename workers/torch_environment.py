"""What torch reads from the environment as it is loaded: for workers, and for what is measured against them.

`GOMP_SPINCOUNT`: torch's threads wait for each other by spinning, by default so long that one busy core makes a forward
pass a hundred times slower. 1,000 spins cost an idle machine nothing.

`THP_MEM_ALLOC_ENABLE`: torch asks the system for pages of 2 MB. Activations of a batch take hundreds of MB that are new
to the process each time: with pages of 4 kB, the embedded encoder spent a sixth of its time on 5,000 to 10,000 page
faults for each image of a batch.
"""

import os

TORCH_ENVIRONMENT = {"GOMP_SPINCOUNT": "1000", "THP_MEM_ALLOC_ENABLE": "1"}


def set_torch_environment() -> None:
    """Set what the environment does not set already; must be called before torch is loaded."""
    for variable, value in TORCH_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
