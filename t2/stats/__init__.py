"""Statistics over questions: bootstrap intervals, frontiers and areas, reliability. Pure, seeded."""
