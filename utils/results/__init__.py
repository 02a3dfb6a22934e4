"""What test.py and compare.py write: tables, a report page, comparisons.

May import the rest of utils. Start reading at scores.py.
"""

from .comparison import changed_settings, compare, open_groups
from .report import pick_examples, write_report
from .scores import environment, image_names, notes_of, read_metrics, results_folder, summarise, write_results
from .tables import as_csv, as_text, comparison_table, explain, score_table
