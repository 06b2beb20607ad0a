"""Reports for people: terminal tables, JSON, pictures, self-contained HTML pages. Writes files, reads none."""
