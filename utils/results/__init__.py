"""What test.py and compare.py write: metrics tables, the report page, comparisons with intervals.

May import utils. Start reading at tables.py.
"""
