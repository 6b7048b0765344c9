"""Pure scoring: similarities -> category scores -> decisions. No I/O, no model library."""
