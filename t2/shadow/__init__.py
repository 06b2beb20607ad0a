"""Shadow mode: what T2 would have drawn of answers that were drawn anyway, its log, and `t2 shadow-report`."""
