"""Label a data set's images indoor or outdoor by CLIP, zero-shot, and store the text features.

    python clip_text.py configs/reside6k_s.yaml                             every split the settings name
    python clip_text.py configs/demo.yaml data.root=mine text.encoder=stand-in   known labels from domains.csv

Writes <root>/<split>/domains.npz, and domains.csv beside it for people.
"""

from pathlib import Path

from datasets.domains import save_domains, stand_in_domains
from datasets.synthetic import make_demo
from utils.config import load_config
from utils.entry import config_parser, run


def main(argv=None):
    args = config_parser(__doc__).parse_args(argv)
    config = load_config(args.config, args.overrides)
    if config.data.root is None:
        make_demo(config.data.folder)
    for split in splits(config.data):
        folder = Path(config.data.folder) / split
        domains = stand_in_domains(folder, config.text.classes, config.text.prompts)
        save_domains(folder, domains)
        print(f"{folder}: {len(domains.names)} images")


def splits(data):
    named = [data.train, data.test] + ([data.val] if isinstance(data.val, str) and data.val != "test-crop" else [])
    return list(dict.fromkeys(named))


if __name__ == "__main__":
    run(main)
