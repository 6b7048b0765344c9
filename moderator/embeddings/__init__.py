"""Other uses of the encoder: classification, similarity, bulk embedding, search, linear probes."""
