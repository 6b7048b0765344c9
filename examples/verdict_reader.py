"""Keep each verdict once, however often this is killed and continued, by whom, and over Redis or HTTP.

python verdict_reader.py DATABASE [URL [API_KEY]]
"""

import sqlite3
import sys

from moderator import Client
from moderator.client import BEGINNING

database = sqlite3.connect(sys.argv[1])
database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
database.execute("CREATE TABLE IF NOT EXISTS verdicts (cursor TEXT, source TEXT, id TEXT, decision TEXT)")
last = database.execute("SELECT cursor FROM verdicts ORDER BY rowid DESC LIMIT 1").fetchone()

with Client(*sys.argv[2:3], api_key=(*sys.argv[3:4], None)[0], retry_seconds=3600) as client:
    for cursor, verdict in client.iter_verdicts(last[0] if last else BEGINNING):
        row = (cursor, verdict.source, verdict.event_id, verdict.decision)
        with database:  # the verdict and its cursor, in one transaction
            database.execute("INSERT INTO verdicts VALUES (?, ?, ?, ?)", row)
