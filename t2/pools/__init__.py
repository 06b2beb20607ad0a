"""One pool of samples: prepared, filled by a labeller, loaded, graded. `t2 label` is this room's command."""
