"""`t2`: everything that never trains. One YAML serves `t2` and `train.py`: this reads its `data.pool` subtree.

The functions of the commands stand in `pools`, `looking`, `exports` and `answering`; their signatures and docstrings
are the options and help texts. Heavy imports stay inside them, so that `t2 --help` is there at once.
"""

from t2.cli.command_line import COMMANDS, main

__all__ = ["COMMANDS", "main"]
