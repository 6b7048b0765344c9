"""Receive verdicts by webhook. WEBHOOK_SECRET=whsec_... flask --app examples.webhook_receiver run"""

import os
import sqlite3

from flask import Flask, abort, request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1_000_000
webhook = Webhook(os.environ["WEBHOOK_SECRET"])
DATABASE = os.environ.get("DATABASE", "verdicts.sqlite3")
TABLE = "CREATE TABLE IF NOT EXISTS received (id TEXT PRIMARY KEY, source TEXT, event TEXT, decision TEXT)"


@app.post("/verdicts")
def receive() -> tuple[str, int]:
    """Keep a verdict once: a delivery that was answered too late, or is replayed by a stranger, comes again."""
    try:  # also refuses what was signed more than five minutes ago
        verdict = webhook.verify(request.get_data(), {**request.headers})
    except (WebhookVerificationError, ValueError):
        abort(400, "not signed with our secret, or not now")
    row = (request.headers["webhook-id"], verdict["source"], verdict["event_id"], verdict["decision"])
    with sqlite3.connect(DATABASE) as database:
        database.execute(TABLE)
        new = database.execute("INSERT OR IGNORE INTO received VALUES (?, ?, ?, ?)", row).rowcount
    return ("received", 200) if new else ("received before", 200)
