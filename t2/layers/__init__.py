"""`t2 layers`: what each layer of an LLM knows of how much voting helps a question, and which layers to tap."""
