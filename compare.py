"""Compare results folders of test.py, image by image; the first is the baseline.

    python compare.py results/none-test results/calip-test                  two runs, or more
    python compare.py none=results/none-1-test,results/none-2-test calip=results/calip-1-test,results/calip-2-test
                                                                            configurations, each run with several seeds
    python compare.py --markdown results/none-test results/calip-test       tables for a paper

Prints the mean scores over all images and each domain, the differences with 95 % intervals (paired bootstrap over the
images and, where a configuration has several runs, over the runs), how many images became better and worse, and those
that differ most. Results on other images or by another protocol are refused, and so are runs of one configuration that
differ in more than their seed.
"""

from utils.results import as_text, changed_settings, comparison_table, equal, most_different, open_groups
from utils.script import Parser, run


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("results", metavar="[NAME=]FOLDER[,FOLDER ...]", nargs="+", help="results of a configuration")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    parser.add_argument("--most", type=int, default=5, help="how many of the most different images to show (5)")
    parser.add_argument("--resamples", type=int, default=10_000, help="bootstrap resamples (10000)")
    args = parser.parse_args(argv)
    if len(args.results) < 2:
        raise ValueError("one results folder has nothing to be compared with: give the baseline's first, then others")
    if args.resamples < 100 or args.most < 0:
        raise ValueError("--resamples must be at least 100, and --most at least 0")
    groups, images = open_groups(args.results)
    base, *others = groups

    print(as_text(*comparison_table(groups, images, args.resamples), args.markdown))
    print()
    print(describe(groups, images, args.resamples))
    for group in others:
        print()
        if equal(group, base):
            print(f"{group.name} and {base.name}: no difference, every image's scores are equal (to 1e-4 dB)")
            continue
        print(f"{group.name} and {base.name} differ in: {changed_settings(group, base)}")
        if args.most:
            print("The images that differ most, by PSNR:\n")
            print(as_text(*most_different(group, base, images, args.most), args.markdown))


def describe(groups, images, resamples):
    """Explain the table's numbers."""
    runs = {len(group.psnr) for group in groups}
    over = "the images and the training runs" if max(runs) > 1 else "the images"
    lines = [
        f"{len(images.names):,} images. Brackets: 95 % intervals of the mean difference, paired by image, from "
        f"{resamples:,} bootstrap resamples (seed 0) over {over}."
    ]
    if max(runs) > 1:
        lines.append("Behind ±: the standard deviation over the runs.")
    if min(runs) == 1:
        lines.append("One run of a configuration: one seed is no evidence for a difference below half a decibel.")
    if images.left_out:
        lines.append(f"{images.left_out:,} images with an infinite PSNR in some run are left out.")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
