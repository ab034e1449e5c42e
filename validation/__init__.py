"""What the validation page of the documentation reports: ``python validation/run.py`` measures all of it again."""

#: That writes all results, tables and figures.
SCRIPT = "validation/run.py"
