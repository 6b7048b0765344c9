"""What stands in Redis and how it is changed: the queue, the ledger of accepted events, verdicts, dead letters."""
