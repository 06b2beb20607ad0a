"""What `t2 label` shows before hours are spent: `--preview N`, and a look at the first questions of a growing pool."""
