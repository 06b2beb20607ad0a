"""`t2 gateway`: the same in front of a server that loads no plugins."""
