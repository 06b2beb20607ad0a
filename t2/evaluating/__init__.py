"""`t2 evaluate`: an exported head on any pool of its model, all else fitted out of fold there. Never trains a head."""
