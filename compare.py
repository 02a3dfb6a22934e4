"""Compare results folders of test.py, image by image; the first is the baseline.

    python compare.py results/none-test results/calip-test                  two runs, or more
    python compare.py none=results/none-1-test,results/none-2-test calip=results/calip-1-test,results/calip-2-test
                                                                            configurations, each run with several seeds
    python compare.py results/none-test results/calip-test --latex          a table for a paper, or --markdown
    python compare.py results/none-test results/calip-test --csv            every number, for other programs

Prints the mean scores over all images and each domain, the differences with 95 % intervals (paired bootstrap over the
images and the runs), how many images became better and worse, parameters, multiply-adds at 256 x 256 and images a
second. Results on other images or by another protocol are refused, and so are runs that differ in more than their seed.
"""

import sys
from contextlib import redirect_stdout

from utils import results
from utils.script import Parser, run


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("results", metavar="[NAME=]FOLDER[,FOLDER ...]", nargs="+", help="results of a configuration")
    forms = parser.add_mutually_exclusive_group()
    for form, text in (("markdown", "Markdown tables"), ("latex", "a LaTeX tabular"), ("csv", "every number as CSV")):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, default="plain", help=text)
    args = parser.parse_args(argv)
    if len(args.results) < 2:
        raise ValueError("one results folder has nothing to be compared with: give the baseline's first, then others")
    groups = results.open_groups(args.results)
    base, records = groups[0], results.compare(groups)

    if args.form == "csv":
        print(results.as_csv(records), end="")
    else:
        print(results.as_text(*results.comparison_table(records), args.form))
    with redirect_stdout(sys.stderr if args.form in ("latex", "csv") else sys.stdout):
        print(f"\n{results.explain(groups)}\n")
        for group in groups[1:]:
            print(f"{group.name} and {base.name} differ in: {results.changed_settings(group, base)}")


if __name__ == "__main__":
    run(main)
