"""`t2 evaluate`: what an exported head is worth on questions it has not learned from, by replay and on the engine."""
