"""The archive: every verdict with its evidence, to be searched, replayed, exported, retained and erased."""
