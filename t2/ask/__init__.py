"""`VotingLLM` and `t2 ask`: questions in, voted answers out, from an engine of our own."""
