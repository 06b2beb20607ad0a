"""Calibration with a promise: the betting test, and the settings of a policy that it judges. Pure."""
