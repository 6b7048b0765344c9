"""The state in Redis and its changes: the queue, the ledger of accepted events, verdicts, dead letters."""
