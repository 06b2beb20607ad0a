"""Activations of a frozen LLM at the last prompt token: the only position a serving engine gives for free."""
