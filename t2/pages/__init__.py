"""What people look at: one `Table` with its renderers, HTML pages, and the look of every picture. Writes no files."""
