"""What a data set is and whether it can be trusted; and how a raw release becomes one.

    python check_data.py configs/reside6k_s.yaml                  the splits that the settings name
    python check_data.py data/RESIDE-IN                           every split of a folder
    python check_data.py --from ITS SOTS/indoor --to data/RESIDE-IN         lay unpacked archives out

A check reads every image. It names images without a partner or that cannot be read, pairs that are not aligned, have no
haze, are swapped, of two scenes or of two sizes, white borders, and clear images that occur in two splits. Exit code: 1
where something is wrong, else 0.
Laying out RESIDE, O-HAZE, I-HAZE, NH-HAZE, Dense-Haze, Haze4K or other pairs of folders writes links, without checks.
"""

from pathlib import Path

from datasets.checks import KINDS, check, find_splits
from datasets.pairs import split_folders
from datasets.raw_layout import lay_out
from utils.config import load_config
from utils.results import as_text
from utils.script import Parser, run
from utils.settings import Data


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("set", metavar="CONFIG_OR_FOLDER", nargs="?", help="settings file, or a data set's folder")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="settings that win over the file's")
    parser.add_argument("--from", dest="raw", metavar="RAW", nargs="+", type=Path, help="folders of a raw release")
    parser.add_argument("--to", metavar="FOLDER", type=Path, help="the data set that becomes of it")
    args = parser.parse_args(argv)
    if args.raw or args.to:
        if args.set or not (args.raw and args.to):
            raise ValueError("a raw release is laid out by --from RAW --to FOLDER alone: check the data set afterwards")
        print(lay_out(args.raw, args.to))
        return 0
    if not args.set:
        raise ValueError("name a settings file or a data set's folder, or lay out a raw release by --from and --to")
    return report(*open_set(args.set, args.overrides))


def open_set(name, overrides):
    """The root of a data set and its splits' names; from settings, also data.max_pixels and if it is rendered."""
    path = Path(name)
    if path.is_dir():
        if (path / "hazy").is_dir():
            return path.resolve().parent, [path.resolve().name]
        return path, find_splits(path)
    if path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"{name} is neither a settings file (.yaml) nor a folder")
    data = load_config(name, overrides).data
    return Path(data.folder), [folder.name for folder in split_folders(data)], data.max_pixels, data.root is None


def report(root, names, max_pixels=Data.max_pixels, rendered=False):
    """Check a data set and print what was found; returns the exit code."""
    splits, defects = check(root, names, max_pixels)
    if rendered:  # some of the rendered training pairs have no haze, on purpose
        defects = [defect for defect in defects if defect.kind != "identical"]
    header = ["split", "pairs", "sizes", "formats", "fingerprint"]
    lines = [[s.name, f"{s.num_pairs:,}", counts(s.sizes), counts(s.formats), s.fingerprint] for s in splits]
    print(f"{root}\n\n{as_text(header, lines)}")
    for kind, words in KINDS.items():
        found = [defect for defect in defects if defect.kind == kind]
        if found:
            print(f"\n{words}: {len(found):,}")
            print("\n".join(f"  {defect.paths[0]}: {defect.reason}" for defect in found))
    print(f"\n{len(defects):,} defect{'s' * (len(defects) > 1)}" if defects else "\nnothing is wrong")
    return 1 if defects else 0


def counts(found, most=3):
    """The most frequent values of a Counter with their numbers, as text."""
    more = f", {len(found) - most} more" if len(found) > most else ""
    return ", ".join(f"{value} ({number:,})" for value, number in found.most_common(most)) + more


if __name__ == "__main__":
    run(main)
