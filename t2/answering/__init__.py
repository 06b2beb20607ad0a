"""How one question is answered, whoever draws the samples: its plan, its votes, its confidence."""
