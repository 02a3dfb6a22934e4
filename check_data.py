"""What a data set is and whether it can be trusted; and how a raw release becomes one.

    python check_data.py configs/reside6k_s.yaml                  the splits that the settings name
    python check_data.py data/RESIDE-IN                           every split of a folder
    python check_data.py --from ITS SOTS/indoor --to data/RESIDE-IN
                                                                  lay unpacked archives out: RESIDE, O-HAZE, I-HAZE,
                                                                  NH-HAZE, Dense-Haze, Haze4K, other pairs of folders
    python check_data.py --from RESIDE --to data/RESIDE --domains and write the domains that their names tell

A check reads every image and tells the pairs that are not aligned, have no haze or are swapped, of two scenes or of two
sizes, white borders, clear images that occur in two splits or twice in one, the set's fingerprint, and which published
set has as many pairs. data_report.html shows what is wrong. Exit code: 1 where something is wrong, else 0.
Laying out writes links; nothing of the archives is changed, and nothing is checked.
"""

from collections import Counter
from pathlib import Path

from datasets.checks import KINDS, check, find_splits
from datasets.images import read_small
from datasets.layout import lay_out
from datasets.synthetic import make_demo
from utils.config import load_config
from utils.results import as_text, write_data_report
from utils.script import Parser, run

PRINTED, SHOWN = 20, 12  # defects of a kind on the terminal, and with pictures on the page
PICTURE_SIDE = 400  # pixels
REPORT = Path("data_report.html")


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("set", metavar="CONFIG_OR_FOLDER", nargs="?", help="settings file, or a data set's folder")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="settings that win over the file's")
    parser.add_argument("--from", dest="raw", metavar="RAW", nargs="+", type=Path, help="folders of a raw release")
    parser.add_argument("--to", metavar="FOLDER", type=Path, help="the data set that becomes of it")
    parser.add_argument("--domains", action="store_true", help="also write the known domains to domains.csv")
    args = parser.parse_args(argv)
    if args.raw or args.to or args.domains:
        if args.set or not (args.raw and args.to):
            raise ValueError("a raw release is laid out by --from RAW --to FOLDER alone: check the data set afterwards")
        print(lay_out(args.raw, args.to, args.domains))
        return 0
    if not args.set:
        raise ValueError("name a settings file or a data set's folder, or lay out a raw release by --from and --to")
    return report(*open_set(args.set, args.overrides))


def open_set(name, overrides):
    """The root of a data set, the names of its splits, and the largest number of pixels of an image."""
    path = Path(name)
    if path.is_dir():
        if overrides:
            raise ValueError(f"{overrides[0]}: a folder has no settings to change")
        if (path / "hazy").is_dir():
            return path.resolve().parent, [path.resolve().name]
        return path, find_splits(path)
    if path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"{name} is neither a settings file (.yaml) nor a folder")
    data = load_config(name, overrides).data
    if data.root is None:
        make_demo(data.folder, data.scenes)
    names = [data.train, data.test] + ([data.val] if isinstance(data.val, str) and data.val != "test-crop" else [])
    return Path(data.folder), list(dict.fromkeys(names)), data.max_pixels


def report(root, names, *limits):
    """Check a data set and tell what was found; returns the exit code."""
    splits, known, defects = check(root, names, *limits)

    # What it is.
    header = ["split", "pairs", "sizes", "formats", "bits", "fingerprint"]
    lines = [
        [split.name, f"{split.num_pairs:,}", sizes(split.sizes), counts(split.formats), counts(split.bits)]
        + [split.fingerprint]
        for split in splits
    ]
    title = f"as many pairs as {known.name}{known.remark}" if known else "as many pairs as no published set"
    print(f"{root}: {title}\n\n{as_text(header, lines)}")
    for kind in known.allowed if known else ():
        print(f"\n{KINDS[kind]}: not counted, this set has them on purpose")

    # What is wrong with it.
    sections = []
    for kind, words in KINDS.items():
        found = [defect for defect in defects if defect.kind == kind]
        if found:
            print(f"\n{words}: {len(found):,}")
            print("\n".join(f"  {defect.name}: {defect.says}" for defect in found[:PRINTED]))
            if len(found) > PRINTED:
                print(f"  and {len(found) - PRINTED:,} more, see {REPORT}")
            sections.append((f"{words}: {len(found):,}", found, [pictures(defect) for defect in found[:SHOWN]]))
    verdict = f"{len(defects):,} defects" if defects else "nothing is wrong"
    write_data_report(REPORT, str(root), f"{title}; {verdict}", (header, lines), sections)
    print(f"\n{verdict}; report: {REPORT}")
    return 1 if defects else 0


def pictures(defect):
    """A defect's images, those that can be read."""
    found = []
    for path in defect.paths:
        try:
            found.append(read_small(path, PICTURE_SIDE))
        except (ValueError, OSError):
            continue
    return found


def sizes(found):
    return counts(Counter({f"{width} x {height}": number for (height, width), number in found.items()}))


def counts(found, most=3):
    """The most frequent values in words, each with its number where there are several."""
    common = found.most_common(most)
    if len(found) == 1:
        return str(common[0][0])
    more = f", {len(found) - most} more" if len(found) > most else ""
    return ", ".join(f"{value} ({number:,})" for value, number in common) + more


if __name__ == "__main__":
    run(main)
