"""`t2 curse`: how bad overscaling is for a model and a task. Measure, tables, figures, report, command."""
