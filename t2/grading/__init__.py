"""Graders: text of a sample -> answer class."""
