"""`t2 grade`: what a grader makes of a pool, how each grade was reached, and what another grader would change."""
