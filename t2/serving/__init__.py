"""An exported head answers: in Python, from the shell, and inside vLLM's own server."""
