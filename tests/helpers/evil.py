"""A text that breaks whatever does not escape what it shows."""

EVIL = "<script>alert('x')</script> & \"q\" [bold] \u202e\x00\x1b[31m\x85{{ 7 * 7 }} $\\alpha"
