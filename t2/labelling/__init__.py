"""Fill a pool: which samples are missing, draw them, store them. Its own process; knows nothing of training."""
