"""What a head is worth end to end: accuracy against token cost on stored samples, with intervals. Pure."""
