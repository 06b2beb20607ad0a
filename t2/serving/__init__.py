"""`t2 serve`: vLLM's own server with a head in it."""
