"""Does the text help? Train four demo networks on real images with known domains, test each with the right and the
wrong domain, and print the table.

    python benchmarks/ablation.py data.root=data/RESIDE-mini                12 runs of 600 steps, about 1 hour on 2 cores
    python benchmarks/ablation.py --seeds 1,2,3,4,5 data.root=...           more seeds; finished runs are kept
    python benchmarks/ablation.py --config my.yaml train.steps=5000 data.root=...

Each run is a call of train.py and test.py, so a stopped ablation goes on where it was when it is called again. What is
scored is the last step's averaged weights, so no choice of a checkpoint adds noise. Runs are checkpoints/ablation-*.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
VARIANTS = {
    "none": ["model.fusion=none"],
    "parametric": ["model.fusion=parametric"],
    "calip": ["model.fusion=calip"],
    "shuffled": ["model.fusion=calip", "text.shuffle=true"],
}
for variant in sys.argv[1].split(","):
    for seed in sys.argv[2].split(","):
        name = f"ablation-{variant}-{seed}"
        common = [str(ROOT / "configs/demo.yaml"), *sys.argv[3:], f"seed={seed}", *VARIANTS[variant]]
        subprocess.run([sys.executable, str(ROOT / "train.py"), *common, f"run={name}", "data.val_crop=256", "train.eval_every=100000"], check=True)
        for domain in ("right", "wrong")[: 1 if variant == "none" else 2]:
            run = f"{name}-{domain}"
            if not Path(f"results/{run}-test/metrics.json").exists():
                subprocess.run([sys.executable, str(ROOT / "test.py"), *common, f"run={run}", f"checkpoint=checkpoints/{name}/last.pt", f"test.domain={domain}"], check=True)
