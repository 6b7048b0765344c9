"""What torch makes of its environment, in a process of its own: torch reads it once."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
#: Prints 1 if a tensor of 64 MB lies in memory for which huge pages were asked, else 0.
ADVISED = """
from workers.torch_environment import set_torch_environment
set_torch_environment()
import torch
tensor = torch.empty(64 << 20, dtype=torch.uint8)
middle, inside = tensor.data_ptr() + (32 << 20), False
for line in open("/proc/self/smaps"):
    if "-" in line.split()[0]:
        start, end = (int(address, 16) for address in line.split()[0].split("-"))
        inside = start <= middle < end
    elif inside and line.startswith("VmFlags"):
        print(int("hg" in line.split()))
"""


def test_torch_asks_for_huge_pages_where_the_system_has_them() -> None:
    command = [sys.executable, "-c", ADVISED]
    ended = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(ended.stdout) == int(HUGE_PAGES.exists())
