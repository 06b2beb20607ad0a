"""OpenAI's interface with T2's options: requests, waves, responses, metrics, whoever draws the samples."""
