"""What test.py and compare.py write: metrics tables, the report page, comparisons with intervals.

May import the rest of utils. Start reading at tables.py.
"""

from .comparison import as_text, changed_settings, comparison_table, equal, most_different, open_groups
from .report import pick_examples, write_report
from .tables import environment, image_names, results_folder, score_table, summarise, write_results

__all__ = [
    "as_text",
    "changed_settings",
    "comparison_table",
    "environment",
    "equal",
    "image_names",
    "most_different",
    "open_groups",
    "pick_examples",
    "results_folder",
    "score_table",
    "summarise",
    "write_report",
    "write_results",
]
