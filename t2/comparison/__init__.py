"""`t2 report`: heads, controls and policies compared out of fold. Sources, contenders, summary, tables, command."""
