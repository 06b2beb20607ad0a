"""Lightning: the module, its callbacks, and cross-validation. The only stage of `t2` that imports Lightning."""
