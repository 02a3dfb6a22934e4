"""What test.py, compare.py, check_data.py and publish.py write: tables, report pages, comparisons, the model card.

May import the rest of utils. Start reading at tables.py.
"""

from .card import model_card
from .comparison import as_text, changed_settings, comparison_table, equal, most_different, open_groups
from .data_report import write_data_report
from .earlier import refuse_another_test, set_aside
from .report import pick_examples, write_report
from .tables import environment, image_names, read_metrics, results_folder, score_table, summarise, write_results
