"""The sample store: append-only shards, manifests with checksums, a lock. Samples are the expensive thing here."""
