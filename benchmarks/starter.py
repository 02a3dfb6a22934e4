"""Make weights/starter.pt, the weights that come with the project, of the training of configs/starter.yaml.

    ./train.sh configs/starter.yaml && python -m benchmarks.starter checkpoints/starter/last.pt

Keeps the averaged weights, the settings and the text, and drops the optimiser's state. Prints size and SHA-256 for the
card, weights/starter.md.
"""

import argparse

from utils import checkpoint


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="of the training")
    saved = checkpoint.load(parser.parse_args().checkpoint)
    kept = {name: saved[name] for name in ("step", "settings", "text")}
    network = {**saved["network"], "state": saved["ema"] or saved["network"]["state"]}
    checkpoint.STARTER.parent.mkdir(exist_ok=True)
    checkpoint.save(checkpoint.STARTER, {**kept, "network": network, "ema": None})
    size = checkpoint.STARTER.stat().st_size / 1e6
    print(f"{checkpoint.STARTER}: {size:.2f} MB, SHA-256 {checkpoint.sha256(checkpoint.STARTER)}")


if __name__ == "__main__":
    main()
