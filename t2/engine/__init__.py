"""A head inside vLLM's model: what the engine is told, what it gives back, and whether both read alike."""
