"""How soon commands answer that need no torch: the best and the median of several starts, in seconds.

python benchmarks/startup.py [--repeat 10]; the budget is 0.5 s each on an idle machine of two cores.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

BUDGET = 0.5
COMMANDS = (["--version"], ["--help"], ["schema"])


def seconds(words: list[str], folder: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gradscope", *words], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=10)
    repeat = parser.parse_args().repeat
    slow = False
    with tempfile.TemporaryDirectory() as folder:
        for words in COMMANDS:
            seconds(words, folder)  # the first start compiles and fills the disk cache
            taken = [seconds(words, folder) for _ in range(repeat)]
            slow |= min(taken) > BUDGET
            print(f"gradscope {' '.join(words):<10} best {min(taken):.3f} s, median {statistics.median(taken):.3f} s")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
