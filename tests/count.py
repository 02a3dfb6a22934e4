"""How large the battery is: python -m tests.count. Counted by pytest's collection, not by hand."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

# Tests whose cases are faults that meet a script at work, wherever they are.
FAULTS = re.compile(r"fault_at_any_file|full_disk|really_full|signal_loses|limit_on_the_size")


def main():
    command = [sys.executable, "-m", "pytest", "--collect-only", "tests"]
    root = Path(__file__).parent.parent
    listed = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True).stdout
    counts = Counter()
    for line in listed.splitlines():
        file, separator, test = line.partition("::")
        if "test_fuzz" in file and separator:
            counts["damaged files read"] += 1
        elif "test_battery" in file and separator:
            counts["faults injected" if FAULTS.search(test) else "cases tried"] += 1
        elif separator:
            counts["other tests"] += 1
    for name in ("cases tried", "faults injected", "damaged files read", "other tests"):
        print(f"{counts[name]:>6,}  {name}")


if __name__ == "__main__":
    main()
