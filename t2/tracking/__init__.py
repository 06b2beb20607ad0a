"""What a tracker of experiments keeps besides scalars: pool, head and report as artifacts, with what each is of."""
