"""What test.py and compare.py write: tables, a report page, comparisons.

May import the rest of utils. Start reading at tables.py.
"""

from .comparison import changed_settings, compare, most_different, open_groups
from .folder import image_names, results_folder
from .formats import as_csv, as_text, comparison_table, explain
from .notes import notes_of
from .report import pick_examples, write_report
from .tables import environment, read_metrics, score_table, summarise, write_results
